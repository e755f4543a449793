"""A training step on the threads of one process, beside as many processes of one thread each:
`python tests/benchmarks/processes.py`. With `--cores`, also what a model says of more cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import harness
import numpy as np
from benchmark_networks import NETWORKS
from cores_model import Costs, processes_step, threads_step
from ours import build

from cnn_cli.bench.rank_bench import repeat_together
from cnn_cli.bench.steps import Steps
from cnn_cli.data.shards import bounds
from cnn_cli.errors import ConfigError
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import (
    CHUNK_BYTES,
    chunk_bounds,
    chunks_multiple,
    images_per_chunk,
    uses_float64_sums,
)
from cnn_cli.parallel.launcher import is_worker, open_ranks
from cnn_cli.parallel.processes import ProcessRanks, take_signals
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.report.text.table import format_table

ITEMSIZE = 4  # float32
WAYS = ("threads", "processes", "ranks", "apart")
"""How a batch is shared: threads of one process, `train.processes`, ranks of MPI, and the parts of
the processes without an exchange, which is what they compute.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Times threads, processes and ranks of MPI.")
    harness.add_networks(parser, "seed-4,seed-32,lenet,resnet20")
    parser.add_argument("--backend", choices=("numpy", "fast"), default="numpy")
    parser.add_argument("--count", type=int, default=2, help="of threads, processes or ranks")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each way")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--cores", help="foretell steps on these, such as 1,2,4,8,16")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        measure(options)
        return
    if options.cores is not None and options.count != 2:
        harness.fail("--cores needs --count 2: the model is made from one and two cores")
    harness.prepare(torch_is_needed=False)
    ways = [way for way in WAYS if way != "ranks" or mpiexec() is not None]
    rows, models = [], []
    for network in harness.chosen(options.networks):
        turns = [[turn(way, network, options) for way in ways] for _ in range(options.rounds)]
        medians, least = np.median(turns, axis=0), np.min(turns, axis=0)
        cells = [f"{step:.2f} ({low:.2f})" for step, low in zip(medians, least, strict=True)]
        waits = 1 - medians[ways.index("apart")] / medians[0]
        rows.append((network, *cells, f"{medians[0] / medians[1]:.2f}", f"{waits:.0%}"))
        if options.cores is not None:
            found = dict(zip(ways, medians, strict=True))
            models.append(foretell(network, costs_of(network, found, options), options))
    header = ("network", *(f"{way}, ms" for way in ways), "threads / processes", "threads wait")
    print(format_table(header, rows, "l" + "r" * (len(header) - 1)), end="")
    for text in models:
        print(f"\n{text}", end="")


def costs_of(name: str, found: dict[str, float], options: argparse.Namespace) -> Costs:
    """Return the model's costs, from the milliseconds of the ways and of steps on one thread."""
    network = NETWORKS[name]
    one = argparse.Namespace(**{**vars(options), "count": 1})
    batch, half = network.batch, network.batch // 2
    turns = [
        [
            turn("threads", name, one, "--images", str(batch)),
            turn("threads", name, one, "--images", str(half)),
            turn("threads", name, one, "--images", "1", "--tiny"),
        ]
        for _ in range(options.rounds)
    ]
    whole, part, tiny = (1e-3 * float(median) for median in np.median(turns, axis=0))
    per_image = (whole - part) / (batch - half)
    _, graph = build(name, network)
    alike = uses_float64_sums(graph, ITEMSIZE, batch)
    size = images_per_chunk(graph, ITEMSIZE, CHUNK_BYTES)
    costs = Costs(
        fixed=max(0.0, whole - batch * per_image),
        per_image=per_image,
        python=tiny,
        chunks=len(chunk_bounds(batch, size, chunks_multiple(1, 1, alike=alike))),
        contention=max(0.0, 1e-3 * found["apart"] / part - 1),
        exchange=max(0.0, 1e-3 * (found["processes"] - found["apart"])),
    )
    return costs.with_wake(batch, 1e-3 * found["threads"])


def foretell(name: str, costs: Costs, options: argparse.Namespace) -> str:
    """Return the costs and a table over numbers of cores."""
    batch, rows = NETWORKS[name].batch, []
    for cores in map(int, options.cores.split(",")):
        if cores <= batch:
            steps = (
                threads_step(costs, batch, cores),
                processes_step(costs, batch, cores),
                processes_step(replace(costs, contention=0.0), batch, cores),
            )
            rows.append((str(cores), *(f"{batch / step:,.0f}" for step in steps)))
    header = ("cores", "threads", "processes", "processes, memory as fast for all")
    python = costs.python * costs.chunks / (costs.fixed + batch * costs.per_image)
    return (
        f"{name}, {options.backend}, images/s as the model foretells\n"
        f"fixed {1e3 * costs.fixed:.2f} ms, per image {1e3 * costs.per_image:.3f} ms, "
        f"Python {1e3 * costs.python:.2f} ms a chunk, {python:.0%} of a step; "
        f"contention {costs.contention:.0%}, exchange {1e3 * costs.exchange:.2f} ms, "
        f"waking {costs.wake:.1f} times the lock\n" + format_table(header, rows, "rrrr") + "\n"
    )


def turn(way: str, network: str, options: argparse.Namespace, *more: str) -> float:
    """Return the milliseconds of a step, measured in processes of its own."""
    line = [sys.executable, sys.argv[0], "--way", way, "--networks", network, *more]
    for name in ("backend", "count", "seconds"):
        line += [f"--{name}", str(getattr(options, name))]
    if way == "ranks":
        line = [str(mpiexec()), "-n", str(options.count), *line]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        harness.fail(f"{way} failed:\n{done.stderr}")
    return float(done.stdout)


def mpiexec() -> str | None:
    """Return the path of `mpiexec`, beside Python or anywhere else."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return shutil.which("mpiexec", path=path)


def join(way: str, count: int, line: Sequence[str]) -> Ranks:
    """Return the ranks that run this program."""
    if way == "threads":
        return ALONE
    if way == "ranks":
        return open_ranks()
    if is_worker():
        take_signals()
        return ProcessRanks.join()
    return ProcessRanks.start(count, line)


def tiny_graph(name: str) -> Graph:
    """Return the network for the smallest images that it takes: its step is Python's part."""
    network = NETWORKS[name]
    height, width, channels = network.in_shape
    for size in range(1, min(height, width)):
        with suppress(ConfigError):
            return build(name, replace(network, in_shape=(size, size, channels)))[1]
    return build(name, network)[1]


def measure(options: argparse.Namespace) -> None:
    """Print the median of milliseconds of a step of the slowest rank."""
    job = join(options.way, options.count, [sys.executable, *sys.argv])
    name = options.networks
    batch = NETWORKS[name].batch
    config, graph = build(name, NETWORKS[name])
    if options.tiny:
        graph = tiny_graph(name)
    params = Parameters(graph, config.train.dtype)
    initialize(params, 0, config.model.init)
    own = bounds(options.images or batch, job.rank, job.size)
    with Steps(
        graph,
        params,
        config,
        open_kernels(options.backend, graph, config.train.dtype, lambda _: None),
        own.stop - own.start,
        options.count // job.size,
        exchange=None if options.way in ("threads", "apart") else job,
        offset=own.start,
        batch_size=batch,
    ) as steps:
        seconds = repeat_together(steps.train, job, options.seconds)
    if job.rank == 0:
        print(1e3 * seconds)
    job.close(0)


if __name__ == "__main__":
    main()
