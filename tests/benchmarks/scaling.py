"""Estimate training on up to 1,024 ranks from measurements on one: `python
tests/benchmarks/scaling.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import harness
import numpy as np
from delayed import Delayed, Noted
from scaling_model import Costs, Link, Part, StepTime, step_time

from cnn_cli.bench.steps import Steps, repeat
from cnn_cli.cli.shared.networks import open_network
from cnn_cli.config import Config
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import plan_segments
from cnn_cli.nn.timing import timed
from cnn_cli.report.text.table import format_table

LINKS = {"10 Gbit/s, 25 µs": Link(25e-6, 1.25e9), "100 Gbit/s, 2 µs": Link(2e-6, 12.5e9)}
NOTHING = Link(0.0, float("inf"))
MANY = 512
SHARES = (16, 32, 64, 128)
RANKS = [2**i for i in range(11)]
SIMULATED = (2, 16, 128, 1024)
SIMULATED_SHARE = 32
STRONG, WEAK = 1024, 128  # total batch size, and batch size per rank


@dataclass(frozen=True)
class Bench:
    """The measured network, on one thread."""

    graph: Graph
    config: Config
    kernels: Kernels
    seconds: float

    @contextmanager
    def steps(self, images: int, exchange: Delayed, graph: Graph | None = None) -> Iterator[Steps]:
        graph = graph or self.graph
        params = Parameters(graph, self.config.train.dtype)
        initialize(params, 0, self.config.model.init)
        with Steps(
            graph,
            params,
            self.config,
            self.kernels,
            images,
            1,
            exchange=exchange,
            batch_size=images * exchange.size,
        ) as steps:
            yield steps

    def step(self, images: int, exchange: Delayed) -> tuple[float, float]:
        """Return the median seconds of the engine and of the optimizer in a step."""
        rows: list[tuple[float, float]] = []
        with self.steps(images, exchange) as steps:

            def act() -> None:
                steps.train()
                rows.append(steps.seconds)

            repeat(act, self.seconds, 5)
        engine, optimizer = np.median(rows[1:], axis=0)
        return float(engine), float(optimizer)


def main() -> None:
    parser = argparse.ArgumentParser(description="Foretells training on many ranks.")
    parser.add_argument("--config", default="configs/resnet20.yaml")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--backend", choices=("numpy", "fast"), default="fast")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--page", action="store_true", help="tables for docs/several-machines.md")
    options = parser.parse_args()
    harness.prepare(torch_is_needed=False)
    network = open_network(options.config, [], options.classes)
    config = network.config
    kernels = open_kernels(options.backend, network.graph, config.train.dtype, print)
    bench = Bench(network.graph, config, kernels, options.seconds)
    costs = measure(bench)
    size = sum(sum(part.sums) for part in costs.backward)
    gathered = sum(costs.forward_gathers) + sum(part.gather for part in costs.backward)
    gathers = len(costs.forward_gathers) + sum(part.gather > 0 for part in costs.backward)
    print(
        f"{options.config}, {options.backend}, 1 thread a rank\n"
        f"fixed {1e3 * costs.fixed:.2f} ms, per image {1e6 * costs.per_image:.0f} µs, "
        f"optimizer {1e3 * costs.optimizer:.2f} ms\n"
        f"sums {sum(len(part.sums) for part in costs.backward)} of {size:,} bytes, "
        f"gathers {gathers} of {gathered:,} bytes, "
        f"{1e6 * costs.combine:.1f} µs to combine a rank's in each\n"
    )
    checks = simulation(bench, costs)
    if options.page:
        print(f"{page_scaling(costs)}\n{page_simulation(checks)}", end="")
        return
    for name, link in LINKS.items():
        print(f"{name}, a batch of {STRONG:,}\n\n{scaling(costs, link, strong)}")
        print(f"{name}, {WEAK} images a rank\n\n{scaling(costs, link, weak)}")
    rows = [
        (check.link, f"{check.ranks:,}", *map(milliseconds, check.times), f"{check.ratio:.2f}")
        for check in checks
    ]
    header = ("link", "ranks", "simulated, ms", "model, ms", "ratio")
    print(
        f"simulated, {SIMULATED_SHARE} images a rank\n\n{format_table(header, rows, 'lrrrr')}",
        end="",
    )


def measure(bench: Bench) -> Costs:
    """Measure the costs of a step on one rank, without communication time."""
    found = [bench.step(images, Delayed(NOTHING, 2)) for images in SHARES]
    per_image, fixed = np.polyfit(SHARES, [engine for engine, _ in found], 1)
    parts, forward_gathers = backward_parts(bench)
    gathers = 2 * len(forward_gathers)
    combine = 0.0
    if gathers:
        many, _ = bench.step(32, Delayed(NOTHING, MANY))
        combine = (many - found[1][0]) / gathers / (MANY - 2)
    return Costs(
        fixed=max(0.0, float(fixed)),
        per_image=float(per_image),
        combine=max(0.0, combine),
        optimizer=float(np.median([optimizer for _, optimizer in found])),
        forward_gathers=forward_gathers,
        backward=parts,
    )


def backward_parts(bench: Bench) -> tuple[tuple[Part, ...], tuple[int, ...]]:
    """Return the parts of the backward pass, last segment first, and what forward's barriers
    gather.
    """
    graph, times = timed(bench.graph)
    exchange = Noted(NOTHING, 2)
    with bench.steps(64, exchange, graph) as steps:
        for _ in range(2):  # the second step is used
            for layer in times:
                layer.forward = layer.backward = 0.0
            with exchange.one_step() as messages:
                steps.train()
        total = steps.seconds[0]
    parts = []
    segments = reversed(plan_segments(bench.graph, training=True))
    for segment, (sums, gather) in zip(segments, messages.backward, strict=True):
        seconds = sum(times[step.node.index].backward for step in segment.steps)
        parts.append(Part(seconds / total, sums, gather))
    return tuple(parts), tuple(messages.forward)


def strong(ranks: int) -> float:
    """Images per rank if the ranks share a fixed batch."""
    return STRONG / ranks


def weak(_: int) -> float:
    """Images per rank if the batch grows with the ranks."""
    return WEAK


def foretold(
    costs: Costs, link: Link, ranks: int, share: Callable[[int], float]
) -> tuple[StepTime, float]:
    """Estimate a step, and its efficiency relative to one rank."""
    step = step_time(costs, link, ranks, share(ranks))
    alone = step_time(costs, link, 1, share(1))
    return step, share(ranks) / step.total * alone.total / share(1)


def scaling(costs: Costs, link: Link, share: Callable[[int], float]) -> str:
    """Return a table over numbers of ranks."""
    rows = []
    for ranks in RANKS:
        step, efficiency = foretold(costs, link, ranks, share)
        times = (step.compute, step.gathers, step.late, step.total)
        rows.append(
            (
                f"{ranks:,}",
                f"{share(ranks):,.0f}",
                *map(milliseconds, times),
                f"{share(ranks) * ranks / step.total:,.0f}",
                f"{efficiency:.0%}",
            )
        )
    header = ("ranks", "images", "compute", "gathers", "late", "step, ms", "images/s", "efficiency")
    return format_table(header, rows, "rrrrrrrr") + "\n"


@dataclass(frozen=True, slots=True)
class Check:
    """A simulated step compared with the model's.

    Attributes:
        times: both, in seconds.
    """

    link: str
    ranks: int
    times: tuple[float, float]

    @property
    def ratio(self) -> float:
        """The model's time divided by the simulated one."""
        return self.times[1] / self.times[0]


def simulation(bench: Bench, costs: Costs) -> list[Check]:
    """Run steps with an exchange as slow as the model says."""
    checks = []
    for name, link in LINKS.items():
        for ranks in SIMULATED:
            found = sum(bench.step(SIMULATED_SHARE, Delayed(link, ranks)))
            model = step_time(costs, link, ranks, SIMULATED_SHARE).total
            checks.append(Check(name, ranks, (found, model)))
    return checks


def page_scaling(costs: Costs) -> str:
    """Return the page's table over numbers of ranks: milliseconds and efficiency."""
    titles = (f"{STRONG:,} images in all", f"{WEAK} images a rank")
    speeds = [name.partition(",")[0] for name in LINKS]
    header = [f"{titles[0]}, {speeds[0]}", speeds[1], f"{titles[1]}, {speeds[0]}", speeds[1]]
    rows = []
    for ranks in RANKS:
        cells = [
            foretold(costs, link, ranks, share)
            for share in (strong, weak)
            for link in LINKS.values()
        ]
        texts = [f"{1e3 * step.total:,.1f}, {efficiency:.0%}" for step, efficiency in cells]
        rows.append([f"{ranks:,}", *texts])
    return markdown(["ranks", *header], rows)


def page_simulation(checks: Sequence[Check]) -> str:
    """Return the page's table of simulated steps."""
    rows = [
        [check.link, f"{check.ranks:,}", *(f"{1e3 * seconds:.1f}" for seconds in check.times)]
        for check in checks
    ]
    return markdown(["link", "ranks", "simulated, ms", "model, ms"], rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    first, rule, *others = ("| " + " | ".join(line) + " |\n" for line in lines)
    return first + rule.replace(" ", "") + "".join(others)


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


if __name__ == "__main__":
    main()
