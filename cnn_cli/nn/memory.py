"""Estimate the memory of a network before anything is allocated."""

from __future__ import annotations

from collections.abc import Sized
from math import prod
from typing import Protocol

import numpy as np

from cnn_cli.nn.fuse import tuned_graph
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.plan import (
    CHUNK_BYTES,
    Segment,
    chunk_bounds,
    chunks_multiple,
    images_per_chunk,
    pass_segment,
    plan_segments,
    uses_float64_sums,
)
from cnn_cli.nn.recompute import plan_recompute

# Measured as peak resident memory, on Linux with NumPy 2.4.
INTERPRETER_BYTES = 52_000_000  # Python, NumPy, Pillow and pydantic, before the network is created
# numba, LLVM and the kernels: 105 MB from the cache, 155 to 190 if they are compiled first.
COMPILED_BYTES = 120_000_000
SCRATCH_BYTES = 10_000_000  # per worker: windows, padded images, products to be added

LOADER_BATCHES = 4


class Optimizer(Protocol):
    """An optimizer's settings: `buffers` is the number of arrays like the parameters that it
    keeps.
    """

    @property
    def buffers(self) -> Sized: ...


class Training(Protocol):
    """The settings of a training on which its memory depends, as in the config's `train`."""

    @property
    def dtype(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def ema(self) -> object: ...
    @property
    def lookahead(self) -> object: ...


def parameter_count(graph: Graph) -> int:
    """Return the number of trained values."""
    return sum(spec.size for node in graph.nodes for spec in node.layer.params)


def training_bytes(
    graph: Graph,
    train: Training,
    threads: int,
    backend: Backend = "numpy",
    pixel_bytes: int = 1,
    *,
    recompute: bool = False,
) -> int:
    """Estimate the peak resident memory of training in bytes, including the interpreter, without
    cached images.

    It counts parameters, one gradient per worker (for some networks also its sum in float64), the
    optimizer's state, summed gradients and averaged weights; and the activations alive at once: of
    the whole batch if batch normalization divides the network, else of one chunk per worker.

    Args:
        graph: the network.
        train: settings of the training.
        threads: number of workers.
        backend: the backend of the kernels.
        pixel_bytes: bytes per value of an image.
        recompute: some activations are computed twice, see `nn.recompute`.
    """
    graph = tuned_graph(graph, backend)
    itemsize = np.dtype(train.dtype).itemsize
    slots = len(train.optimizer.buffers)
    slots += train.accumulate > 1
    slots += train.ema is not None or train.lookahead is not None
    parameters = parameter_count(graph) * (1 + threads + slots) * itemsize
    in_float64 = uses_float64_sums(graph, itemsize, train.batch_size)
    if in_float64:
        parameters += parameter_count(graph) * threads * 8
    segments = plan_segments(graph, training=True)
    chunk = min(images_per_chunk(graph, itemsize, CHUNK_BYTES), train.batch_size)
    multiple = chunks_multiple(threads, 1, alike=in_float64)
    bounds = chunk_bounds(train.batch_size, chunk, multiple)
    under_way = threads * max(stop - start for start, stop in bounds)
    waiting, last = _live_per_image(graph, segments)
    if recompute:
        waiting = min(waiting, plan_recompute(graph, segments).numbers)
    activations = (train.batch_size * waiting + under_way * last) * itemsize
    batches = LOADER_BATCHES * train.batch_size * prod(graph.in_shape) * pixel_bytes
    prepared = itemsize * sum(
        prod(node.layer.prepared or (0,)) + threads * prod(node.layer.prepared_grad or (0,))
        for node in graph.nodes
    )
    fixed = INTERPRETER_BYTES + threads * SCRATCH_BYTES
    if backend == "fast":
        fixed += COMPILED_BYTES
    return fixed + parameters + prepared + batches + activations


def recompute_cost(graph: Graph, backend: Backend = "numpy") -> float:
    """Return the multiply-adds that recomputing activations adds, as a fraction of a training step.

    A step takes three times those of a forward pass (gradients of weights and of inputs).
    """
    graph = tuned_graph(graph, backend)
    again = plan_recompute(graph, plan_segments(graph, training=True)).muladds
    return again / max(3 * sum(node.layer.muladds for node in graph.nodes), 1)


def _live_per_image(graph: Graph, segments: tuple[Segment, ...]) -> tuple[int, int]:
    """Return the values alive at once for one image: those waiting at the last barrier, with the
    gradients that return to it, and those that the last segment adds while it runs.

    Other gradients reuse memory that activations free.
    """
    alive = {IMAGE: prod(graph.shape(IMAGE))}
    waiting = 0
    for segment in segments:
        waiting = sum(alive.values()) if segment is not segments[0] else 0
        pass_segment(graph, segment, alive)
    widest = max(prod(step.node.layer.out_shape) for step in segments[-1].steps)
    last = sum(alive.values()) - waiting + 2 * widest
    if len(segments) > 1:
        waiting += sum(prod(step.layer.out_shape) for step in segments[-2].barriers)
    return waiting, last
