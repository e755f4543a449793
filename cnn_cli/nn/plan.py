"""The engine's schedule, decided once from the graph, before any data."""

from __future__ import annotations

from math import prod

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.batch import BatchLayer, waits_for_batch
from cnn_cli.nn.layers.drop_path import DropPath
from cnn_cli.nn.layers.dropout import Dropout
from cnn_cli.structs import Struct

CHUNK_BYTES = 13_000_000
"""Bytes of one node's input and output in a chunk: larger chunks save Python calls, smaller ones
stay in cache.
"""

FEWEST_IMAGES = 4
"""Images per chunk, as far as twice `CHUNK_BYTES` allows: fewer do not justify reading the
weights.
"""

ALIKE = 4
"""This many threads or processes, or a divisor of it, get the same chunks.

It halves the chunks of two threads, which costs about 5 % of ResNet-20's speed.
"""

LEAST_USES = 2000  # multiply-adds per weight in a chunk, compared with one float64 addition
# Multiply-adds in a chunk, compared with the Python time for another chunk.
LEAST_WORK = 300_000_000


class Step(Struct):
    """The schedule of one node.

    Attributes:
        inplace: its output overwrites its first input.
        release: tensors that are not read after this node's forward.
        release_backward: tensors that are not read after this node's backward.
        requires_grad: inputs whose gradient is needed.
        has_backward: it has a backward pass: its output depends on a trained parameter.
    """

    node: Node
    inplace: bool
    release: tuple[int, ...]
    release_backward: tuple[int, ...]
    requires_grad: frozenset[int]
    has_backward: bool


class BatchStep(Step):
    """The schedule of a layer that waits for the whole batch."""

    layer: BatchLayer


class Segment(Struct):
    """Nodes that a chunk passes through without waiting for other chunks.

    Attributes:
        steps: in topological order.
        barriers: batch layers of the next segment that wait for sums over this one's outputs (none
            in evaluation).
    """

    steps: tuple[Step, ...]
    barriers: tuple[BatchStep, ...]


def plan_segments(
    graph: Graph,
    training: bool,
    *,
    running_stats: bool = False,
    keep: int | None = None,
    entry: int = IMAGE,
) -> tuple[Segment, ...]:
    """Divide the nodes into segments, at the layers that need the whole batch.

    A tensor's depth is the largest number of batch layers on a path to it. Nodes of one depth form
    a segment, so that the statistics of a shortcut and of its branch share one barrier. Without
    training, nothing needs the batch and there is one segment.

    Args:
        graph: the network.
        training: a backward pass follows.
        running_stats: batch layers use their running statistics, so nothing needs the batch.
        keep: a tensor that is neither overwritten nor released before its node's backward.
        entry: the tensor with which passes begin: later nodes read no other earlier tensor.
    """
    depth = {entry: 0}
    waiting: set[int] = set()
    rest = graph.nodes[entry + 1 :]
    for node in rest:
        waits = training and not running_stats and waits_for_batch(node.layer)
        waiting |= {node.index} if waits else set()
        depth[node.index] = max(depth[tensor] for tensor in node.inputs) + waits
    order = sorted(rest, key=lambda node: (depth[node.index], node.index))
    lifetimes = _Lifetimes(graph, order, training, keep, entry)
    steps = [lifetimes.step(node, node.index in waiting) for node in order]
    segments = []
    for level in range(max(depth.values()) + 1):
        own = tuple(step for step in steps if depth[step.node.index] == level)
        barriers = tuple(
            step
            for step in steps
            if isinstance(step, BatchStep) and depth[step.node.index] == level + 1
        )
        segments.append(Segment(own, barriers))
    return tuple(segments)


def pass_segment(graph: Graph, segment: Segment, alive: dict[int, int]) -> None:
    """Update the tensors that are alive, as a forward pass through a segment does.

    Args:
        graph: the network.
        segment: the segment.
        alive: for each tensor, the values per image that it adds to memory.
    """
    for step in segment.steps:
        shares = step.inplace or step.node.layer.is_view
        alive[step.node.index] = 0 if shares else prod(graph.shape(step.node.index))
        for tensor in step.release:
            size = alive.pop(tensor)
            if shares and tensor == step.node.inputs[0]:
                alive[step.node.index] = size


class _Lifetimes:
    """When each tensor is last read, forward and backward, and when it may be overwritten."""

    def __init__(
        self, graph: Graph, order: list[Node], training: bool, keep: int | None, entry: int
    ) -> None:
        self.graph = graph
        self.training = training
        self.keep = keep
        self.entry = entry
        self.requires_grad = requires_grad(graph, keep)
        turn = {node.index: i for i, node in enumerate(order)}
        self.readers: dict[int, list[Node]] = {entry: []}
        for node in graph.nodes[entry + 1 :]:
            self.readers[node.index] = []
            for tensor in node.inputs:
                self.readers[tensor].append(node)
        for readers in self.readers.values():
            readers.sort(key=lambda node: turn[node.index])
        # Tensors that share memory, because one overwrites or is a view of another.
        self.shared: dict[int, list[int]] = {entry: [entry]}
        self.inplace: dict[int, bool] = {}
        for node in order:
            self.inplace[node.index] = self._may_write(node, turn)
            first = node.inputs[0]
            if self.inplace[node.index] or node.layer.is_view:
                self.shared[first].append(node.index)
                self.shared[node.index] = self.shared[first]
            else:
                self.shared[node.index] = [node.index]

    def _may_write(self, node: Node, turn: dict[int, int]) -> bool:
        """Whether the first input's memory is free when `node` runs."""
        first = node.inputs[0]
        if not node.layer.can_write_input or node.inputs.count(first) > 1:
            return False
        for tensor in self.shared[first]:
            if tensor == self.entry or self._saved(tensor):
                return False
            if any(turn[reader.index] > turn[node.index] for reader in self.readers[tensor]):
                return False
        return True

    def _saved(self, tensor: int) -> bool:
        """Whether a backward pass reads the tensor."""
        if not self.training:
            return False
        produces = tensor in self.requires_grad and self.graph.nodes[tensor].layer.saves_output
        return (
            produces
            or tensor == self.keep
            or any(reader.layer.saves_input for reader in self._backward_readers(tensor))
        )

    def _backward_readers(self, tensor: int) -> list[Node]:
        """Return the readers with a backward pass, in forward order."""
        return [reader for reader in self.readers[tensor] if reader.index in self.requires_grad]

    def step(self, node: Node, waits: bool) -> Step:
        release = tuple(
            tensor
            for tensor in set(node.inputs)
            if not self._saved(tensor) and self.readers[tensor][-1] is node
        )
        facts = (
            node,
            self.inplace[node.index],
            release,
            self._released_backward(node),
            self.requires_grad.intersection(node.inputs),
            self.training and node.index in self.requires_grad,
        )
        if waits and waits_for_batch(node.layer):
            return BatchStep(*facts, node.layer)
        return Step(*facts)

    def _released_backward(self, node: Node) -> tuple[int, ...]:
        """In backward, a tensor's producer comes last, after all its readers.

        If the producer has no backward pass, the last to read is the first of them.
        """
        if not self.training or node.index not in self.requires_grad:
            return ()
        own = node.index == len(self.graph.nodes) - 1 or self._saved(node.index)
        inputs = tuple(
            tensor
            for tensor in dict.fromkeys(node.inputs)
            if tensor not in self.requires_grad
            and self._saved(tensor)
            and self._backward_readers(tensor)[0] is node
        )
        return (node.index,) * own + inputs


def requires_grad(graph: Graph, keep: int | None = None) -> frozenset[int]:
    """Return the tensors whose gradient leads to a trained parameter.

    The last tensor is always included, and so is `keep`.
    """
    found = {len(graph.nodes) - 1}
    for node in graph.nodes:
        own = bool(node.layer.params) and node.index not in graph.frozen
        if own or node.index == keep or not found.isdisjoint(node.inputs):
            found.add(node.index)
    return frozenset(found)


def frozen_prefix(graph: Graph) -> int:
    """Return the last tensor that is constant per image and on which alone later nodes depend.

    `IMAGE` if there is none: nothing before it is trained or dropped out.
    """
    trained = requires_grad(graph)
    found = IMAGE
    for node in graph.nodes:
        layer = node.layer
        if node.index in trained or (isinstance(layer, Dropout | DropPath) and layer.p > 0):
            break
        later = graph.nodes[node.index + 1 :]
        if all(tensor >= node.index for other in later for tensor in other.inputs):
            found = node.index
    return found


def chunk_bounds(n: int, images_per_chunk: int, multiple: int) -> list[tuple[int, int]]:
    """Divide a batch of `n` into nearly equal chunks, in a multiple of `multiple` if n allows.

    The result depends on the arguments only, so that runs can be repeated bit for bit.
    """
    chunks = ceil_div(n, max(images_per_chunk, 1))
    chunks = min(n, ceil_div(chunks, multiple) * multiple)
    return [(n * i // chunks, n * (i + 1) // chunks) for i in range(chunks)]


def chunks_multiple(workers: int, processes: int, *, alike: bool) -> int:
    """Return the number of which a process's number of chunks is a multiple.

    Args:
        workers: number of workers.
        processes: number of processes that share the batch.
        alike: use the same chunks for one, two or four workers or processes.
    """
    parts = ALIKE // processes if ALIKE % processes == 0 else 1
    return parts if alike and parts % workers == 0 else workers


def images_per_chunk(graph: Graph, itemsize: int, budget: int) -> int:
    """Return how many images' activations fit the budget in bytes, at the widest node."""
    widest = itemsize * max(
        sum(prod(graph.shape(tensor)) for tensor in (*node.inputs, node.index))
        for node in graph.nodes
    )
    return max(1, budget // widest, min(FEWEST_IMAGES, 2 * budget // widest))


def uses_float64_sums(graph: Graph, itemsize: int, batch_size: int) -> bool:
    """Whether to sum gradients in float64, over equal chunks (see `float64_sums`).

    True if they are float32, and a chunk uses each weight so often that the sums take no noticeable
    time.
    """
    sizes = {node.index: sum(spec.size for spec in node.layer.params) for node in graph.nodes}
    uses = sum(prod(graph.shape(index)[:-1]) * size for index, size in sizes.items())
    work = uses * min(images_per_chunk(graph, itemsize, CHUNK_BYTES), batch_size // ALIKE)
    return itemsize == 4 and work > LEAST_WORK and work > LEAST_USES * sum(sizes.values())
