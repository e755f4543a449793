"""Code shared by the benchmarks: the interface of both sides, and alternating timing."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn, Protocol

from benchmark_networks import NETWORKS

GOLDEN = Path(__file__).parent.parent / "golden"
BUSY = 0.5  # load average
SGD = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
OURS = ("numpy", "fast")
OFTEN = 20  # largest number of timed calls in a turn


@dataclass(frozen=True)
class Way:
    """How PyTorch computes.

    Attributes:
        layout: memory layout, `channels_last` or `default`.
        compiled: whether torch.compile compiles the network.
        bfloat16: whether it runs under torch.autocast with bfloat16.
    """

    layout: str = "channels_last"
    compiled: bool = False
    bfloat16: bool = False


WAYS = {
    "eager-default": Way("default"),
    "eager": Way(),
    "compile": Way(compiled=True),
    "eager-bfloat16": Way(bfloat16=True),
    "compile-bfloat16": Way(compiled=True, bfloat16=True),
}


class Side(Protocol):
    """A network with a batch, in this program or in PyTorch."""

    def step(self) -> float:
        """Run one training step with the optimizer's update; return the loss."""

    def predict(self) -> Any:
        """Return the logits (n, classes) in evaluation mode."""


def fail(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    raise SystemExit(1)


def prepare(torch_is_needed: bool = True) -> None:
    """Find the twin's code, and warn of anything that would distort the comparison."""
    if torch_is_needed and importlib.util.find_spec("torch") is None:
        fail("needs PyTorch: pip install torch")
    sys.path.append(str(GOLDEN))
    if "OPENBLAS_CORETYPE" in os.environ:
        print(
            "warning: OPENBLAS_CORETYPE is set, which may keep NumPy's matrix products from "
            "what this processor can do; unset it to compare",
            file=sys.stderr,
        )
    load = os.getloadavg()[0]
    if load > BUSY:
        print(
            f"warning: the machine is busy, at a load of {load:.1f}; programs that split their "
            "work evenly, as PyTorch does, wait for the slower half",
            file=sys.stderr,
        )


def arguments(description: str, **defaults: Any) -> argparse.ArgumentParser:
    """Return the options of most benchmarks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2, help="of both sides; default: 2")
    parser.add_argument("--rounds", type=int, default=defaults.get("rounds", 10))
    return parser


def add_backend(parser: argparse.ArgumentParser, default: str | None = "numpy") -> None:
    parser.add_argument("--backend", choices=OURS, default=default)


def add_rivals(parser: argparse.ArgumentParser, known: Iterable[str]) -> None:
    names = ",".join(known)
    parser.add_argument("--rivals", default=names, help=f"names with commas; default: {names}")


def chosen_rivals(names: str, known: Iterable[str]) -> list[str]:
    """Return the rivals named in an option, without compiled ones if torch.compile fails here."""
    rivals = _known(names, list(known), "rival")
    if any(name.startswith("compile") for name in rivals):
        from torch_twins import why_not_compiled

        if (reason := why_not_compiled()) is not None:
            print(f"torch.compile cannot run here: {reason}", file=sys.stderr)
            rivals = [name for name in rivals if not name.startswith("compile")]
    if not rivals:
        fail("no rival is left")
    return rivals


def add_networks(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--networks", default=default, help=f"names with commas, of {', '.join(NETWORKS)}"
    )


def chosen(names: str) -> list[str]:
    """Return the networks named in an option."""
    return _known(names, list(NETWORKS), "network")


def _known(names: str, known: list[str], kind: str) -> list[str]:
    for name in names.split(","):
        if name not in known:
            fail(f"no {kind} {name}; there are {', '.join(known)}")
    return names.split(",")


def seconds_of(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def alternate(
    acts: Mapping[str, Callable[[], object]],
    rounds: int,
    turn: float = 0.25,
    *,
    least: int = 2,
    beaten: float = float("inf"),
) -> dict[str, float]:
    """Time functions in turns, so that load from other programs affects all of them.

    The first call of each turn is not counted: caches contain data of the previous function, whose
    threads may still be spinning.

    Args:
        acts: the functions, by name.
        rounds: number of turns per function.
        turn: approximate seconds per turn, in which `least` to `OFTEN` calls are timed. With 0 a
            turn is a single call, for whole processes, which leave nothing in caches.
        least: the smallest number of timed calls in a turn.
        beaten: a function that takes this many times as long as the fastest has no further turns.

    Returns:
        The median seconds per call, by name.
    """
    taken: dict[str, list[float]] = {name: [] for name in acts}
    calls = {}
    for name, act in acts.items():
        act()
        calls[name] = min(OFTEN, max(least, round(turn / seconds_of(act)))) if turn else 1
    running = list(acts)
    for _ in range(rounds):
        for name in running:
            if turn:
                acts[name]()
            taken[name] += [seconds_of(acts[name]) for _ in range(calls[name])]
        quickest = min(map(median, taken.values()))
        running = [name for name in running if median(taken[name]) < beaten * quickest]
    return {name: median(times) for name, times in taken.items()}


class Comparison:
    """A table of images/s: our backends, the rivals, and our ratio to the best rival.

    Args:
        rivals: names of the rivals' columns; a cell is blank if a row lacks the rival.
    """

    def __init__(self, rivals: Sequence[str]) -> None:
        self._rivals = rivals
        self._rows: list[tuple[str, ...]] = []

    def add(self, name: str, batch: int, seconds: Mapping[str, float]) -> None:
        """Add a row from the seconds per batch of each side."""
        rates = {side: batch / taken for side, taken in seconds.items()}
        best = max((rival for rival in self._rivals if rival in rates), key=rates.__getitem__)
        columns = (*OURS, *self._rivals)
        cells = (f"{rates[side]:,.1f}" if side in rates else "" for side in columns)
        ratios = (f"{rates[side] / rates[best]:.2f}" for side in OURS)
        self._rows.append((name, str(batch), *cells, best, *ratios))

    def print(self, title: str) -> None:
        from cnn_cli.report.text.table import format_table  # memory.py's process stays small

        columns = (*OURS, *self._rivals)
        header = ("network", "batch", *columns, "best", *(f"{side} / best" for side in OURS))
        align = f"lr{'r' * len(columns)}l{'r' * len(OURS)}"
        print(f"{title}\n\n{format_table(header, self._rows, align)}", end="")
