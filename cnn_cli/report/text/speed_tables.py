"""The measurements of `cnn bench` as text."""

from __future__ import annotations

from cnn_cli.bench.network_bench import Bench, LayerBench
from cnn_cli.bench.rank_bench import RankBench
from cnn_cli.report.text.table import display_width, format_pairs, format_table

HEADER = ("name", "type", "forward", "GFLOP/s", "backward", "GFLOP/s", "share")
ELLIPSIS = "…"
SHORTEST_NAME = 12


def bench_text(bench: Bench, width: int | None = None) -> str:
    """Return a table of the layers, and images per second.

    Args:
        bench: the measurements.
        width: columns of the terminal, to which long layer names are shortened.
    """
    text = _text(bench, None)
    if width is not None:
        names = [display_width(layer.name) for layer in bench.layers]
        table = text.splitlines()[2]
        most = max(names) - (display_width(table) - width)
        if most < max(names):
            text = _text(bench, max(most, SHORTEST_NAME))
    return text


def _text(bench: Bench, most: int | None) -> str:
    workers = f"one of {bench.threads} workers" if bench.threads > 1 else "the worker"
    title = (
        f"milliseconds of {workers}: {bench.images} images of a batch of {bench.batch_size}, "
        f"{bench.chunk} at a time\n"
    )
    rows = [_row(layer, most) for layer in bench.layers]
    for name, milliseconds in (("optimizer", bench.optimizer_ms), ("engine", bench.engine_ms)):
        share = milliseconds / bench.step_ms
        rows.append((name, "", _number(milliseconds, 2), "", "", "", f"{share:.1%}"))
    total = ("total", "", _number(bench.step_ms, 2), "", "", "", "100.0%")
    rates = [
        ("training", f"{_number(bench.training, 1)} images/s"),
        ("prediction", f"{_number(bench.prediction, 1)} images/s"),
    ]
    setting = f"batch size {bench.batch_size}, {bench.threads} threads, {bench.backend}"
    rates.append(("", f"({setting}, {bench.dtype})"))
    table = format_table(HEADER, rows, "llrrrrr", total)
    return f"{title}\n{table}\n{format_pairs(rates)}"


def rank_bench_text(bench: RankBench) -> str:
    """Return the parts of a step of several ranks, line by line."""
    threads = "1 thread" if bench.threads == 1 else f"{bench.threads} threads"
    exchange = _counted(bench.sums, "sum", bench.sum_bytes)
    if bench.overlap is not None:
        exchange += f", {bench.overlap:.0%} of their time while layers compute"
    lines = [
        ("a step of all", f"{_number(bench.step_ms, 2)} ms"),
        ("the same without exchange", f"{_number(bench.compute_ms, 2)} ms"),
        ("sums of gradients", f"{_number(bench.sums_ms, 2)} ms for {exchange}"),
    ]
    if bench.gathers:
        statistics = _counted(bench.gathers, "gather", bench.gather_bytes)
        lines.append(("statistics", f"{_number(bench.gathers_ms, 2)} ms for {statistics}"))
    lines += [
        ("training", f"{_number(bench.images_per_second, 1)} images/s"),
        (
            "",
            f"({bench.ranks} ranks of {threads}, {bench.backend}, {bench.dtype}, batch size "
            f"{bench.batch_size}, up to {bench.images} images a rank)",
        ),
    ]
    return format_pairs(lines)


def _counted(number: int, what: str, size: int) -> str:
    return f"{number} {what}{'' if number == 1 else 's'} of {_number(size / 1000, 1)} kB together"


def _row(layer: LayerBench, most: int | None) -> tuple[str, ...]:
    return (
        layer.name if most is None else shortened(layer.name, most),
        layer.type,
        _number(layer.forward_ms, 2),
        _rate(layer.forward_gflops),
        _number(layer.backward_ms, 2),
        _rate(layer.backward_gflops),
        f"{layer.share:.1%}",
    )


def shortened(name: str, most: int) -> str:
    """Shorten `name` in the middle to at most `most` characters."""
    if len(name) <= most:
        return name
    tail = (most - 1) * 2 // 3
    return name[: most - 1 - tail] + ELLIPSIS + name[len(name) - tail :]


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _rate(gflops: float | None) -> str:
    return "" if gflops is None else _number(gflops, 1)
