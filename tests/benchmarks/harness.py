"""What the benchmarks share: their two sides, and how they take turns."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NoReturn, Protocol

from benchmark_networks import NETWORKS

GOLDEN = Path(__file__).parent.parent / "golden"
BUSY = 0.5  # load average
SGD = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


class Side(Protocol):
    """A network with a batch, in our program or in PyTorch."""

    def step(self) -> float:
        """One training step, with the optimizer's; the loss."""

    def predict(self) -> Any:
        """The logits (n, classes) in evaluation."""


def fail(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    raise SystemExit(1)


def prepare(torch_is_needed: bool = True) -> None:
    """Find the twin's code, and say what would make the comparison worthless."""
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
    """The options that most of the benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2, help="of both sides; default: 2")
    parser.add_argument("--backend", choices=("numpy", "fast"), default="numpy")
    parser.add_argument("--rounds", type=int, default=defaults.get("rounds", 10))
    return parser


def add_networks(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--networks", default=default, help=f"names with commas, of {', '.join(NETWORKS)}"
    )


def chosen(names: str) -> list[str]:
    """The networks that an option names."""
    unknown = [name for name in names.split(",") if name not in NETWORKS]
    if unknown:
        fail(f"no network {unknown[0]}; there are {', '.join(NETWORKS)}")
    return names.split(",")


def seconds_of(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def alternate(
    acts: Mapping[str, Callable[[], object]], rounds: int, turn: float = 0.25
) -> dict[str, float]:
    """Time some functions in turns, so that a busy moment of the machine meets all of them.

    The first call of a turn is not counted: caches hold what the one before has used, and its
    threads may still be spinning.

    Args:
        acts: by name.
        rounds: turns that each has.
        turn: seconds that a turn takes, about; from 2 to 20 calls are counted.

    Returns:
        The median of seconds a call, by name.
    """
    taken: dict[str, list[float]] = {name: [] for name in acts}
    calls = {}
    for name, act in acts.items():
        act()
        calls[name] = min(20, max(2, round(turn / seconds_of(act))))
    for _ in range(rounds):
        for name, act in acts.items():
            act()
            taken[name] += [seconds_of(act) for _ in range(calls[name])]
    return {name: median(times) for name, times in taken.items()}
