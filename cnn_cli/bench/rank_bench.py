"""Measure how fast several processes train one network together, and the share of communication."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnn_cli.bench.steps import LEAST_STEPS, Steps
from cnn_cli.config import Config, plain_config
from cnn_cli.data.shards import bounds, place_counts
from cnn_cli.errors import ConfigError
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.parallel.alike import check_alike
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.runs.folder import flat
from cnn_cli.training.memory import plan_memory


@dataclass(frozen=True, slots=True)
class RankBench:
    """The measurements; times are medians over steps, of the slowest rank.

    Attributes:
        ranks, threads: number of processes, and threads of each.
        batch_size: batch size over all ranks.
        images: the largest part of it on one rank.
        step_ms: a training step of all ranks together.
        compute_ms: the same step of each rank's own part, on all at once, without communication.
        sums, sum_bytes, sums_ms: number of gradient sums in a step, their bytes, and their time
            without computation.
        gathers, gather_bytes, gathers_ms: the same for batch normalization's statistics, for which
            every step waits; the bytes are what one rank sends.
        overlap: the fraction of `sums_ms` hidden behind computation, measured on the last rank to
            finish, 0 to 1; None for a network of one segment, where nothing can overlap.
        images_per_second: images per second of all ranks together.
    """

    ranks: int
    threads: int
    backend: str
    dtype: str
    batch_size: int
    images: int
    step_ms: float
    compute_ms: float
    sums: int
    sum_bytes: int
    sums_ms: float
    gathers: int
    gather_bytes: int
    gathers_ms: float
    overlap: float | None
    images_per_second: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Observed:
    """An exchange that is recorded.

    Attributes:
        sums, gathers: zeros like the arrays that a first step summed and gathered, in order.
        waits: seconds at the end of each step until all sums were complete.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.size = exchange.size
        self.sums: list[Array] = []
        self.gathers: list[Array] = []
        self.waits: list[float] = []

    def gather(self, numbers: Array) -> Array:
        if not self.waits:
            self.gathers.append(np.zeros_like(numbers))
        return self._exchange.gather(numbers)

    def start_sum(self, numbers: Array) -> None:
        if not self.waits:
            self.sums.append(np.zeros_like(numbers))
        self._exchange.start_sum(numbers)

    def keep_going(self) -> None:
        self._exchange.keep_going()

    def finish_sums(self) -> None:
        start = time.perf_counter()
        self._exchange.finish_sums()
        self.waits.append(time.perf_counter() - start)


def rank_bench(
    graph: Graph,
    params: Parameters,
    config: Config,
    source: str,
    ranks: Ranks,
    *,
    threads: int,
    kernels: Kernels,
    seconds: float,
) -> RankBench:
    """Measure a network's training over all ranks; all of them call this.

    Args:
        graph, params: the network; its running statistics change, its weights do not.
        config: the training; parameters that it freezes from the first epoch on are frozen.
        source: the config's file, for messages.
        ranks: the ranks.
        threads: threads of this rank.
        kernels: the kernels.
        seconds: least duration of each of the four measurements, after a warm-up of one step.

    Raises:
        ConfigError: there are more ranks than images in a batch, the ranks have different configs,
            classes or kernels, or training takes more memory than there is.
    """
    given = dict(flat(plain_config(config)))
    given |= {"--classes": graph.classes, "--backend": kernels.name}
    check_alike(ranks, source, given)
    size = config.train.batch_size
    if size < ranks.size:
        raise ConfigError(f"{source}: train.batch_size", f"must be {ranks.size} or more", size)
    memory = plan_memory(config, graph, source, threads, kernels.name, ranks=ranks)
    own = bounds(size, ranks.rank, ranks.size)
    images = own.stop - own.start

    def measured(act: Callable[[], object]) -> float:
        return repeat_together(act, ranks, seconds)

    def steps(exchange: Exchange | None) -> Steps:
        return Steps(
            graph,
            params,
            config,
            kernels,
            images,
            threads,
            recompute=memory.recompute,
            exchange=exchange,
            offset=own.start,
            batch_size=size,
        )

    exchange = Observed(ranks)
    with steps(exchange) as together:
        step = measured(together.train)
    with steps(None) as alone:
        compute = measured(alone.train)

    def sum_all() -> None:
        for numbers in exchange.sums:
            ranks.start_sum(numbers)
        ranks.finish_sums()

    def gather_all() -> None:
        for numbers in exchange.gathers:
            ranks.gather(numbers)

    sums, gathers = measured(sum_all), measured(gather_all)
    waits = ranks.gather(np.array([np.median(exchange.waits[1:])]))
    return RankBench(
        ranks=ranks.size,
        threads=threads,
        backend=kernels.name,
        dtype=config.train.dtype,
        batch_size=size,
        images=int(place_counts(size, ranks.size).max()),
        step_ms=1e3 * step,
        compute_ms=1e3 * compute,
        sums=len(exchange.sums),
        sum_bytes=sum(numbers.nbytes for numbers in exchange.sums),
        sums_ms=1e3 * sums,
        gathers=len(exchange.gathers),
        gather_bytes=sum(numbers.nbytes for numbers in exchange.gathers),
        gathers_ms=1e3 * gathers,
        overlap=overlap_of(float(waits.min()), sums) if exchange.gathers else None,
        images_per_second=size / step,
    )


def overlap_of(waited: float, sums: float) -> float:
    """Return the fraction of the sums' time that a step does not wait for, from seconds of both.

    The last rank to finish waits for the sums only; the others wait for that rank as well.
    """
    return min(1.0, max(0.0, 1 - waited / sums))


def repeat_together(
    act: Callable[[], object], ranks: Ranks, seconds: float, least: int = LEAST_STEPS
) -> float:
    """Like `steps.repeat`, equally often on all ranks; returns the slowest rank's median."""
    act()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while ranks.first(lambda: len(taken) < least or time.perf_counter() < until):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return float(ranks.gather(np.array([np.median(taken)])).max())
