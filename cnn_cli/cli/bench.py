"""`cnn bench`: measure a network's speed on this machine, and the time of each layer."""

from __future__ import annotations

from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.networks import Classes, Overrides, Source, open_network
from cnn_cli.cli.shared.options import Backend, Debug, Json, Threads
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import UsageError


@command(
    "bench",
    order=80,
    ranks="--ranks",
    examples=(
        "cnn bench configs/small.yaml",
        "cnn bench configs/seed.yaml --classes 3 --batch-size 32 --threads 1",
        "cnn bench runs/small --json",
        "mpiexec -n 2 cnn bench configs/small.yaml --ranks",
    ),
)
def run(
    source: Source,
    overrides: Overrides = None,
    classes: Classes = None,
    batch_size: Annotated[
        int | None,
        Option(
            "--batch-size",
            "-b",
            metavar="N",
            parser=values.whole(1),
            help="Images per batch. Default: train.batch_size.",
        ),
    ] = None,
    threads: Threads = None,
    backend: Backend = None,
    seconds: Annotated[
        float,
        Option(
            "--seconds",
            metavar="S",
            parser=values.number(),
            help="Minimum time of each measurement, in seconds.",
        ),
    ] = 3.0,
    together: Annotated[
        bool,
        Option(
            "--ranks",
            help="Measure training with all processes that mpiexec started, and their "
            "communication.",
        ),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure the speed of training and prediction on random images.

    Times each layer in training, on one worker with its share of a batch, and images per second
    with all threads. Freezes what train.freeze freezes in the first epoch, and recomputes
    activations if training would. Reads only the config or checkpoint, and writes nothing. With
    --ranks: a step of all processes, the sums of gradients and gathers of statistics, and how much
    of the sums overlaps with computation.
    """
    if together and ranks().size == 1:
        raise UsageError("--ranks", "needs several processes: mpiexec -n 2 cnn bench ... --ranks")
    network = open_network(source, overrides or [], classes)
    from cnn_cli.bench.network_bench import Bench, bench
    from cnn_cli.bench.rank_bench import RankBench, rank_bench
    from cnn_cli.nn.backends import choose_backend, open_kernels
    from cnn_cli.nn.init import initialize
    from cnn_cli.nn.params import Parameters
    from cnn_cli.optim.groups import check_patterns
    from cnn_cli.report.text.speed_tables import bench_text, rank_bench_text
    from cnn_cli.system import cpu_count

    config = network.config
    if batch_size is not None:
        config = config.with_keys("train", batch_size=batch_size)
    if network.classifier is not None:
        params = network.classifier.params
    else:
        check_patterns(network.graph, config.train.rules, source)
        params = Parameters(network.graph, config.train.dtype)
        initialize(params, config.train.seed, config.model.init)
    kernels = open_kernels(choose_backend(backend), network.graph, config.train.dtype, output.note)
    result: Bench | RankBench
    if together:
        job = ranks()
        result = rank_bench(
            network.graph,
            params,
            config,
            source,
            job,
            threads=threads or job.threads(cpu_count()),
            kernels=kernels,
            seconds=seconds,
        )
        text = rank_bench_text(result)
    else:
        size = output.terminal_size()
        width = None if size is None else size.columns
        result = bench(
            network.graph,
            params,
            config,
            source,
            threads=threads or cpu_count(),
            kernels=kernels,
            seconds=seconds,
        )
        text = bench_text(result, width)
    if json:
        output.write_json(result.as_dict())
    else:
        output.write(text)
