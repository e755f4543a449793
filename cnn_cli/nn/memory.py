"""How much memory a network takes, told before anything is allocated."""

from __future__ import annotations

from math import prod

import numpy as np

from cnn_cli.config.models import TrainConfig
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.plan import (
    CHUNK_BYTES,
    Segment,
    chunk_bounds,
    images_per_chunk,
    plan_segments,
)

OPTIMIZER_SLOTS = {"sgd": 1, "adam": 2, "adamw": 2}


def parameter_count(graph: Graph) -> int:
    """Trained numbers."""
    return sum(spec.size for node in graph.nodes for spec in node.layer.params)


def training_bytes(graph: Graph, train: TrainConfig, threads: int) -> int:
    """What training takes at most, apart from the interpreter and cached images.

    Parameters, one gradient a worker, the optimizer's state; and the activations that live at
    once: of the whole batch where batch normalization cuts the network, else of a chunk a worker.
    """
    itemsize = np.dtype(train.dtype).itemsize
    slots = OPTIMIZER_SLOTS[train.optimizer.type]
    parameters = parameter_count(graph) * (1 + threads + slots) * itemsize
    segments = plan_segments(graph, training=True)
    chunk = min(images_per_chunk(graph, itemsize, CHUNK_BYTES), train.batch_size)
    bounds = chunk_bounds(train.batch_size, chunk, threads)
    images = train.batch_size if len(segments) > 1 else threads * max(b - a for a, b in bounds)
    batch = train.batch_size * prod(graph.in_shape)
    return parameters + batch + images * _live_per_image(graph, segments) * itemsize


def _live_per_image(graph: Graph, segments: tuple[Segment, ...]) -> int:
    """The most numbers that are alive at once, for one image, when the forward pass has ended.

    Gradients then take over memory that activations leave, but for the widest one.
    """
    alive = {tensor: prod(graph.shape(tensor)) for tensor in (-1,)}
    widest = max(alive.values())
    for segment in segments:
        for step in segment.steps:
            size = prod(step.node.layer.out_shape)
            widest = max(widest, size)
            alive[step.node.index] = 0 if step.node.layer.is_view else size
            for tensor in step.release:
                size_released = alive.pop(tensor)
                if step.inplace and tensor == step.node.inputs[0]:
                    alive[step.node.index] = size_released
    return sum(alive.values()) + 2 * widest
