"""Estimate the memory of a network before anything is allocated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from math import prod
from typing import Protocol

import numpy as np

from cnn_cli.nn.fuse import predicting_graph, tuned_graph
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.layers.batch import waits_for_batch
from cnn_cli.nn.plan import (
    CHUNK_BYTES,
    BatchStep,
    Segment,
    Step,
    chunk_bounds,
    chunks_multiple,
    images_per_chunk,
    plan_segments,
    uses_float64_sums,
)
from cnn_cli.nn.recompute import ONCE, Recompute, plan_recompute

# Measured as peak resident memory, on Linux with NumPy 2.4.
INTERPRETER_BYTES = 52_000_000  # Python, NumPy, Pillow and pydantic, before the network is created
# numba, LLVM and the kernels: 105 to 130 MB from the cache, 155 to 190 if they are compiled first.
COMPILED_BYTES = 150_000_000
# Per worker: windows, Winograd's tiles, products to be added. Padded images, or what NumPy computes
# with, take another chunk of the widest layer.
SCRATCH_BYTES = 10_000_000

LOADER_BATCHES = 4


class OptimizerSettings(Protocol):
    """An optimizer's settings: `buffers` is the number of arrays like the parameters that it
    keeps.
    """

    @property
    def buffers(self) -> Sized: ...


class TrainingSettings(Protocol):
    """The settings of a training on which its memory depends, as in the config's `train`."""

    @property
    def dtype(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def optimizer(self) -> OptimizerSettings: ...
    @property
    def ema(self) -> object: ...
    @property
    def lookahead(self) -> object: ...
    @property
    def estimates_statistics(self) -> bool: ...


def parameter_count(graph: Graph) -> int:
    """Return the number of trained values."""
    return sum(spec.size for node in graph.nodes for spec in node.layer.params)


def training_bytes(
    graph: Graph,
    train: TrainingSettings,
    threads: int,
    backend: Backend = "numpy",
    pixel_bytes: int = 1,
    *,
    recompute: bool = False,
) -> int:
    """Estimate the peak resident memory of training in bytes, including the interpreter, without
    cached images.

    It counts parameters, one gradient per worker (for some networks also its sum in float64), the
    optimizer's state, summed gradients and averaged weights; the evaluated network, with folded
    parameters and arrays prepared from them; and the blocks of activations and their gradients: of
    the whole batch if batch normalization divides the network, else of one chunk per worker.

    Args:
        graph: the network.
        train: settings of the training.
        threads: number of workers.
        backend: the backend of the kernels.
        pixel_bytes: bytes per value of an image.
        recompute: some activations are computed twice, see `nn.recompute`.
    """
    evaluated = predicting_graph(graph, backend).nodes
    graph = tuned_graph(graph, backend)
    itemsize = np.dtype(train.dtype).itemsize
    slots = 1 + len(train.optimizer.buffers)
    slots += train.accumulate > 1
    slots += train.ema is not None or train.lookahead is not None
    if train.estimates_statistics:  # of other weights than those that are trained
        slots += any(waits_for_batch(node.layer) for node in graph.nodes)
    parameters = parameter_count(graph) * (1 + threads + slots) * itemsize
    in_float64 = uses_float64_sums(graph, itemsize, train.batch_size)
    if in_float64:
        parameters += parameter_count(graph) * threads * 8
    segments = plan_segments(graph, training=True)
    chunk = min(images_per_chunk(graph, itemsize, CHUNK_BYTES), train.batch_size)
    multiple = chunks_multiple(threads, 1, alike=in_float64)
    bounds = chunk_bounds(train.batch_size, chunk, multiple)
    chunk = max(stop - start for start, stop in bounds)
    again = plan_recompute(graph, segments) if recompute else ONCE
    step = _Activations(graph, train.batch_size, min(threads * chunk, train.batch_size))
    activations = step.most(segments, again) * itemsize
    batches = LOADER_BATCHES * train.batch_size * prod(graph.in_shape) * pixel_bytes
    prepared = itemsize * sum(
        prod(node.layer.prepared or (0,)) + threads * prod(node.layer.prepared_grad or (0,))
        for node in graph.nodes
    )
    prepared += itemsize * sum(prod(node.layer.prepared or (0,)) for node in evaluated)
    widest = max(prod(node.layer.out_shape) for node in graph.nodes)
    scratch = SCRATCH_BYTES + chunk * widest * itemsize
    fixed = INTERPRETER_BYTES + threads * scratch
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


class _Activations:
    """The blocks of memory that workers take for a training step, per image.

    A workspace keeps a block for arrays of its size (`context.Workspace`), so what counts is the
    largest number of blocks of each size that are in use at once.

    Args:
        graph: the network.
        batch: images that wait between segments.
        under_way: images of the chunks that workers are computing.
    """

    def __init__(self, graph: Graph, batch: int, under_way: int) -> None:
        self._graph = graph
        self._batch = batch
        self._under_way = under_way
        self._alive: dict[int, int] = {}  # by tensor: the numbers that it adds
        self._gradients: dict[int, int] = {}
        self._in_use: Counter[int] = Counter()  # blocks, by their numbers per image
        self._in_pass: Counter[int] = Counter()  # the most of them within this pass
        self._blocks: Counter[int] = Counter()  # taken so far, times the images they are for

    def most(self, segments: Sequence[Segment], recompute: Recompute) -> int:
        """Return the numbers in all blocks at once: see `TrainingEngine.train_step`."""
        last, most = len(segments) - 1, 0
        for level, segment in enumerate(segments):
            before = self._begin()
            self._forward(level, segment, recompute if level < recompute.once else ONCE)
            if level == last:
                output = len(self._graph.nodes) - 1
                self._take(self._gradients, output)
                self._backward(segment.steps)
            most = max(most, self._end(before))
        for level in reversed(range(last)):
            part = recompute.part_until(level)
            if part is not None:
                self._blocks = Counter(
                    {size: self._batch * count for size, count in self._in_use.items()}
                )
            before = self._begin()
            self._backward(segments[level].barriers, at_barrier=True)
            if part is not None:
                for again in range(part.first, part.last + 1):
                    self._forward(again, segments[again], ONCE)
                self._release(part.leftover)
            self._backward(segments[level].steps)
            most = max(most, self._end(before))
        return most

    def _begin(self) -> Counter[int]:
        self._in_pass = Counter(self._in_use)
        return Counter(self._in_use)

    def _end(self, before: Counter[int]) -> int:
        """Return the numbers in all blocks after a pass of all chunks through a segment."""
        for size, most in self._in_pass.items():
            waiting = max(before[size], self._in_use[size])
            blocks = self._batch * waiting + self._under_way * (most - waiting)
            self._blocks[size] = max(self._blocks[size], blocks)
        return sum(size * count for size, count in self._blocks.items())

    def _forward(self, level: int, segment: Segment, recompute: Recompute) -> None:
        if level == 0:
            self._take(self._alive, IMAGE)
        for step in segment.steps:
            index, first = step.node.index, step.node.inputs[0]
            shares = step.inplace or step.node.layer.is_view
            if shares:
                self._release((index,))
                self._alive[index] = 0
            else:
                self._take(self._alive, index)
            for tensor in recompute.release.get(index, step.release):
                if shares and tensor == first:
                    self._alive[index] = self._alive.pop(tensor)
                else:
                    self._release((tensor,))

    def _backward(self, steps: Sequence[Step], *, at_barrier: bool = False) -> None:
        for step in reversed(steps):
            if step.has_backward and (at_barrier or not isinstance(step, BatchStep)):
                self._backward_node(step)

    def _backward_node(self, step: Step) -> None:
        layer, dy = step.node.layer, self._gradients.pop(step.node.index)
        # A layer that may write its input writes dx over dy, and a sum's inputs share one gradient.
        free = dy if layer.can_write_input or layer.is_view or len(step.node.inputs) > 1 else 0
        for tensor in dict.fromkeys(step.node.inputs):
            if tensor not in step.requires_grad:
                continue
            if free == prod(self._graph.shape(tensor)) and tensor not in self._gradients:
                self._gradients[tensor], free, dy = free, 0, 0
            else:
                self._take(self._gradients, tensor)
        self._in_use[dy] -= 1
        self._release(step.release_backward)

    def _take(self, tensors: dict[int, int], tensor: int) -> None:
        """Take a block; one that is there already is given back afterwards."""
        size = prod(self._graph.shape(tensor))
        self._in_use[size] += 1
        self._in_pass[size] = max(self._in_pass[size], self._in_use[size])
        self._in_use[tensors.get(tensor, 0)] -= 1
        tensors[tensor] = size

    def _release(self, tensors: Iterable[int]) -> None:
        for tensor in tensors:
            self._in_use[self._alive.pop(tensor, 0)] -= 1
