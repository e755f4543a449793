"""Training on up to 1,024 ranks, foretold from one: `python tests/benchmarks/scaling.py`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import harness
import numpy as np
from delayed import Delayed, Noted
from scaling_model import Costs, Link, Part, step_time

from cnn_cli.cli.networks import open_network
from cnn_cli.config import Config
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.kernels.backend import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import plan_segments
from cnn_cli.nn.timing import timed
from cnn_cli.report.table import format_table
from cnn_cli.training.backend import open_kernels
from cnn_cli.training.steps import Steps, repeat

LINKS = {"10 Gbit/s, 25 µs": Link(25e-6, 1.25e9), "100 Gbit/s, 2 µs": Link(2e-6, 12.5e9)}
NOTHING = Link(0.0, float("inf"))
MANY = 512
SHARES = (16, 32, 64, 128)
RANKS = [2**i for i in range(11)]
SIMULATED = (2, 16, 128, 1024)
STRONG, WEAK = 1024, 128  # images of all ranks, of each


@dataclass(frozen=True)
class Bench:
    """The network that is measured, on one thread."""

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
        """Median seconds of the engine's part of a step and of the optimizer's."""
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
    for name, link in LINKS.items():
        print(f"{name}, a batch of {STRONG:,}\n\n{scaling(costs, link, STRONG, None)}")
        print(f"{name}, {WEAK} images a rank\n\n{scaling(costs, link, None, WEAK)}")
    print(f"simulated, 32 images a rank\n\n{simulation(bench, costs)}", end="")


def measure(bench: Bench) -> Costs:
    """What a step costs a rank, with an exchange that takes no time."""
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
    """What happens in the backward pass, the last segment first; what forward's barriers gather."""
    graph, times = timed(bench.graph)
    exchange = Noted(NOTHING, 2)
    with bench.steps(64, exchange, graph) as steps:
        for _ in range(2):  # the second one counts
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


def scaling(costs: Costs, link: Link, batch: int | None, share: int | None) -> str:
    """A table over numbers of ranks: of a batch that they share, or of a share each."""
    rows = []
    one = step_time(costs, link, 1, batch or share or 0).total / (batch or share or 1)
    for ranks in RANKS:
        images = batch / ranks if batch else float(share or 0)
        step = step_time(costs, link, ranks, images)
        rate = images * ranks / step.total
        cells = [step.compute, step.gathers, step.late, step.total]
        rows.append(
            (
                f"{ranks:,}",
                f"{images:,.0f}",
                *(f"{1e3 * cell:.2f}" for cell in cells),
                f"{rate:,.0f}",
                f"{rate * one / ranks:.0%}",
            )
        )
    header = ("ranks", "images", "compute", "gathers", "late", "step, ms", "images/s", "efficiency")
    return format_table(header, rows, "rrrrrrrr") + "\n"


def simulation(bench: Bench, costs: Costs) -> str:
    """Steps with an exchange that is as slow as the model says, beside the model's."""
    rows = []
    for name, link in LINKS.items():
        for ranks in SIMULATED:
            engine, optimizer = bench.step(32, Delayed(link, ranks))
            foretold = step_time(costs, link, ranks, 32).total
            found = engine + optimizer
            figures = (f"{1e3 * found:.2f}", f"{1e3 * foretold:.2f}", f"{foretold / found:.2f}")
            rows.append((name, f"{ranks:,}", *figures))
    header = ("link", "ranks", "simulated, ms", "model, ms", "ratio")
    return format_table(header, rows, "lrrrr")


if __name__ == "__main__":
    main()
