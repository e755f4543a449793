"""A training step on the threads of one process, beside as many processes of one thread each:
`python tests/benchmarks/processes.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import harness
import numpy as np
from benchmark_networks import NETWORKS

from cnn_cli.bench.rank_bench import repeat_together
from cnn_cli.bench.steps import Steps
from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.shards import bounds
from cnn_cli.nn.backends import open_kernels
from cnn_cli.nn.init import initialize
from cnn_cli.nn.params import Parameters
from cnn_cli.parallel.processes import ProcessRanks, take_signals
from cnn_cli.parallel.ranks import ALONE, Ranks, is_worker, open_ranks
from cnn_cli.report.text.table import format_table

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
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        measure(options)
        return
    harness.prepare(torch_is_needed=False)
    ways = [way for way in WAYS if way != "ranks" or mpiexec() is not None]
    rows = []
    for network in harness.chosen(options.networks):
        turns = [[turn(way, network, options) for way in ways] for _ in range(options.rounds)]
        medians, least = np.median(turns, axis=0), np.min(turns, axis=0)
        cells = [f"{step:.2f} ({low:.2f})" for step, low in zip(medians, least, strict=True)]
        waits = 1 - medians[ways.index("apart")] / medians[0]
        rows.append((network, *cells, f"{medians[0] / medians[1]:.2f}", f"{waits:.0%}"))
    header = ("network", *(f"{way}, ms" for way in ways), "threads / processes", "threads wait")
    print(format_table(header, rows, "l" + "r" * (len(header) - 1)), end="")


def turn(way: str, network: str, options: argparse.Namespace) -> float:
    """Return the milliseconds of a step, measured in processes of its own."""
    line = [sys.executable, sys.argv[0], "--way", way, "--networks", network]
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


def measure(options: argparse.Namespace) -> None:
    """Print the median of milliseconds of a step of the slowest rank."""
    job = join(options.way, options.count, [sys.executable, *sys.argv])
    name, network = options.networks, NETWORKS[options.networks]
    batch = network.batch
    document = {"model": {"layers": network.layers}, "train": {"batch_size": batch}}
    config = validate_config(document, name)
    graph = build_graph(config.model, network.in_shape, network.classes, name)
    params = Parameters(graph, config.train.dtype)
    initialize(params, 0, config.model.init)
    own = bounds(batch, job.rank, job.size)
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
