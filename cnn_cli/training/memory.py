"""Whether a training fits in memory, and what it does so that it fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    """What a training takes.

    Attributes:
        nbytes: of one process, with the evaluation after an epoch, apart from cached images.
        recompute: a part of the activations is computed twice, see `nn.recompute`.
        cost: what that adds to the multiply-adds of a step, as a share of them.
        limit: bytes that it may take with its cached images; None: what there is.
    """

    nbytes: int
    recompute: bool = False
    cost: float = 0.0
    limit: int | None = None

    @property
    def remark(self) -> str:
        """What is worth a note; empty where there is nothing to say."""
        if not self.recompute:
            return ""
        return f"activations are computed twice to save memory: {self.cost:.0%} more arithmetic"

    def room(self) -> int:
        """Bytes that are left for cached images and features."""
        free = available_memory()
        return free if self.limit is None else max(0, min(free, self.limit - self.nbytes))


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
    """What training takes: `train.recompute: auto` computes activations twice where it must.

    Args:
        pixel_bytes: of a number of an image.
        images: how many there are to train on: no batch has more.
        ranks: that share a batch; those on this machine share its memory.
        to_validate: how many images there are to validate on.
        keep_logits: whether a metric takes their scores all at once.
        limit: bytes that one process may take; by default what there is.

    Raises:
        ConfigError: more than there is, or than it may take.
    """
    train = config.train
    batch = train.batch_size if images is None else min(images, train.batch_size)
    train = train.model_copy(update={"batch_size": -(-batch // ranks.size)})
    frozen = freeze_graph(graph, train, 0)
    part = -(-to_validate // ranks.size)
    itemsize = np.dtype(train.dtype).itemsize
    evaluation = evaluation_bytes(
        graph.classes, part, train.batch_size, itemsize, keep_logits=keep_logits
    )
    have = available_memory() // ranks.neighbours
    if limit is not None:
        have = min(have, limit)

    def need(*, recompute: bool) -> int:
        return evaluation + training_bytes(
            frozen, train, threads, backend, pixel_bytes, recompute=recompute
        )

    once = need(recompute=False)
    if train.recompute is not True and once <= have:
        return MemoryPlan(once, limit=limit)
    twice = once if train.recompute is False else need(recompute=True)
    if twice > have:
        rule = "the network needs more memory than there is"
        if limit is not None and have == limit:
            rule = "the network needs more memory than --memory allows"
        raise ConfigError(f"{source}: model", rule, f"{size_text(twice)} of {size_text(have)}")
    if twice == once:
        return MemoryPlan(once, limit=limit)
    return MemoryPlan(twice, True, recompute_cost(frozen, backend), limit)


def fits_alone(
    config: Config, graph: Graph, threads: int, backend: Backend, pixel_bytes: int
) -> bool:
    """Whether one rank has the memory for what all of them do together."""
    return training_bytes(graph, config.train, threads, backend, pixel_bytes) <= available_memory()
