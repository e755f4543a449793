"""Whether a training fits in memory, and whether activations are recomputed to make it fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.config import Config
from cnn_cli.errors import ConfigError, size_text
from cnn_cli.inference.evaluate import evaluation_bytes
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.memory import recompute_cost, training_bytes
from cnn_cli.optim.groups import freeze_graph
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.system import available_memory


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory that a training takes.

    Attributes:
        nbytes: bytes of one process, including the evaluation after an epoch, without cached
            images.
        recompute: some activations are computed twice, see `nn.recompute`.
        cost: the multiply-adds that recomputing adds, as a fraction of a step.
        limit: bytes allowed including cached images; None for all available memory.
        processes: number of processes that share the limit.
    """

    nbytes: int
    recompute: bool = False
    cost: float = 0.0
    limit: int | None = None
    processes: int = 1

    @property
    def remark(self) -> str:
        """A note for the user; empty if there is nothing to say."""
        if not self.recompute:
            return ""
        return f"activations are computed twice to save memory: {self.cost:.0%} more arithmetic"

    def room(self) -> int:
        """Return the bytes left for cached images and features."""
        free = available_memory()
        if self.limit is None:
            return free
        return max(0, min(free, self.limit - self.processes * self.nbytes))


def plan_memory(
    config: Config,
    graph: Graph,
    source: str,
    threads: int,
    backend: Backend,
    *,
    pixel_bytes: int = 1,
    images: int | None = None,
    ranks: Ranks = ALONE,
    to_validate: int = 0,
    keep_logits: bool = False,
    limit: int | None = None,
) -> MemoryPlan:
    """Plan the memory; with `train.recompute: auto`, recompute activations if needed.

    Args:
        pixel_bytes: bytes per value of an image.
        images: number of training images; no batch is larger.
        ranks: the ranks that share a batch; those on this machine share its memory.
        to_validate: number of validation images.
        keep_logits: whether a metric needs the scores of all images at once.
        limit: bytes allowed for a command's processes together; by default the available memory.

    Raises:
        ConfigError: the training needs more than is available or allowed.
    """
    train = config.train
    batch = train.batch_size if images is None else min(images, train.batch_size)
    changed = {
        "batch_size": ceil_div(batch, ranks.size),
        "precise_bn": train.estimates_statistics,  # `auto` depends on the whole batch
    }
    train = train.model_copy(update=changed)
    frozen = freeze_graph(graph, train.rules, 0)
    part = ceil_div(to_validate, ranks.size)
    itemsize = np.dtype(train.dtype).itemsize
    evaluation = evaluation_bytes(
        graph.classes, part, train.batch_size, itemsize, keep_logits=keep_logits
    )
    have = available_memory(processes=ranks.neighbors)
    part_of_limit = None if limit is None else limit // ranks.processes
    if part_of_limit is not None:
        have = min(have, part_of_limit)

    def need(*, recompute: bool) -> int:
        return evaluation + training_bytes(
            frozen, train, threads, backend, pixel_bytes, recompute=recompute
        )

    once = need(recompute=False)
    if train.recompute is not True and once <= have:
        return MemoryPlan(once, limit=limit, processes=ranks.processes)
    twice = once if train.recompute is False else need(recompute=True)
    if twice > have:
        rule = "the network needs more memory than there is"
        if have == part_of_limit:
            rule = "the network needs more memory than --memory allows"
        got = f"{size_text(twice)} of {size_text(have)}"
        if ranks.processes > 1:
            got += f" in each of {ranks.processes} processes"
        raise ConfigError(f"{source}: model", rule, got)
    if twice == once:
        return MemoryPlan(once, limit=limit, processes=ranks.processes)
    cost = recompute_cost(frozen, backend)
    return MemoryPlan(twice, True, cost, limit, ranks.processes)


def fits_alone(
    config: Config, graph: Graph, threads: int, backend: Backend, pixel_bytes: int
) -> bool:
    """Whether one rank has the memory for the work of all ranks together."""
    return training_bytes(graph, config.train, threads, backend, pixel_bytes) <= available_memory()
