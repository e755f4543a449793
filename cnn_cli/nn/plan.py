"""What the engine does when: decided once from the graph, before any data is seen."""

from __future__ import annotations

from math import prod

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.batch import BatchLayer, waits_for_batch
from cnn_cli.nn.layers.drop_path import DropPath
from cnn_cli.nn.layers.dropout import Dropout
from cnn_cli.structs import Struct

CHUNK_BYTES = 13_000_000
"""Of one node, in and out: larger chunks save calls from Python, smaller ones stay in cache."""

FEWEST_IMAGES = 4
"""In a chunk, as far as twice `CHUNK_BYTES` hold them: fewer are not worth reading the weights."""

ALIKE = 4
"""Threads or processes, this many or a divisor, that may take a batch without a change of chunks.

It halves the chunks of two threads, which costs some 5 % of ResNet-20's speed.
"""

LEAST_USES = 2000  # multiply-adds of each weight in a chunk, beside one sum in float64
LEAST_WORK = 300_000_000  # multiply-adds in a chunk, beside Python's time for one more


class Step(Struct):
    """One node's turn.

    Attributes:
        inplace: its output goes over its first input.
        release: tensors that nobody reads after this node's forward.
        release_backward: tensors that nobody reads after this node's backward.
        requires_grad: inputs whose gradient somebody reads.
        has_backward: it has a backward pass: its output depends on a trained parameter.
    """

    node: Node
    inplace: bool
    release: tuple[int, ...]
    release_backward: tuple[int, ...]
    requires_grad: frozenset[int]
    has_backward: bool


class BatchStep(Step):
    """The turn of a layer that waits for the whole batch."""

    layer: BatchLayer


class Segment(Struct):
    """Nodes that a chunk passes through without waiting for the other chunks.

    Attributes:
        steps: in topological order.
        barriers: those of the next segment that wait for sums over this one's outputs (none in
            evaluation).
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
    """Cut the nodes where the whole batch is needed.

    A tensor's depth is the largest number of batch layers on a path to it. Nodes of one depth
    form a segment, so that a shortcut's and a branch's statistics share one barrier. Without
    training, nothing needs the batch and there is one segment.

    Args:
        graph: the network.
        training: there is a backward pass.
        running_stats: batch layers use their running statistics: nothing needs the batch either.
        keep: a tensor that is neither written over nor released before its node's backward.
        entry: the tensor to begin with: a node's, of which alone later nodes read.
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
    """Bring the tensors that are alive up to date, as a forward pass through a segment does.

    Args:
        alive: by tensor, the numbers of an image that it adds to what is in memory.
    """
    for step in segment.steps:
        shares = step.inplace or step.node.layer.is_view
        alive[step.node.index] = 0 if shares else prod(graph.shape(step.node.index))
        for tensor in step.release:
            size = alive.pop(tensor)
            if shares and tensor == step.node.inputs[0]:
                alive[step.node.index] = size


class _Lifetimes:
    """Who reads each tensor last, forward and backward, and who may write over it."""

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
        # Tensors that share memory, because one is written over or is a view of another.
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
        """Whether nobody needs the first input's memory any more when `node`'s turn has come."""
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
        """Whether some backward reads the tensor."""
        if not self.training:
            return False
        produces = tensor in self.requires_grad and self.graph.nodes[tensor].layer.saves_output
        return (
            produces
            or tensor == self.keep
            or any(reader.layer.saves_input for reader in self._backward_readers(tensor))
        )

    def _backward_readers(self, tensor: int) -> list[Node]:
        """Those that have a backward pass, the first in the forward pass first."""
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

        Where the producer has no backward pass, the last to read is the first of them.
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
    """Tensors whose gradient leads to a trained parameter.

    The last one is always among them, and so is `keep`.
    """
    found = {len(graph.nodes) - 1}
    for node in graph.nodes:
        own = bool(node.layer.params) and node.index not in graph.frozen
        if own or node.index == keep or not found.isdisjoint(node.inputs):
            found.add(node.index)
    return frozenset(found)


def frozen_prefix(graph: Graph) -> int:
    """The last tensor that is the same for an image in every step, and all that later nodes read.

    `IMAGE` where there is none: what comes before trains no parameter and drops nothing out.
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
    """Where a batch of `n` is cut: near-equal chunks, a multiple of some number where n allows.

    Depends on the arguments only, so that a run can be repeated bit for bit.
    """
    chunks = ceil_div(n, max(images_per_chunk, 1))
    chunks = min(n, ceil_div(chunks, multiple) * multiple)
    return [(n * i // chunks, n * (i + 1) // chunks) for i in range(chunks)]


def chunks_multiple(workers: int, processes: int, *, alike: bool) -> int:
    """What number of chunks a process's share of a batch is cut into, or a multiple of it.

    Args:
        workers: that take them.
        processes: that share the batch.
        alike: cut the whole batch into the same chunks for one, two or four who take them.
    """
    parts = ALIKE // processes if ALIKE % processes == 0 else 1
    return parts if alike and parts % workers == 0 else workers


def images_per_chunk(graph: Graph, itemsize: int, budget: int) -> int:
    """How many images' activations fit the byte budget, at the widest node."""
    widest = itemsize * max(
        sum(prod(graph.shape(tensor)) for tensor in (*node.inputs, node.index))
        for node in graph.nodes
    )
    return max(1, budget // widest, min(FEWEST_IMAGES, 2 * budget // widest))


def uses_float64_sums(graph: Graph, itemsize: int, batch_size: int) -> bool:
    """Whether gradients are to be summed in float64, over like chunks (see `float64_sums`).

    They are float32, and a chunk uses each weight so often that the sums do not show in the time.
    """
    sizes = {node.index: sum(spec.size for spec in node.layer.params) for node in graph.nodes}
    uses = sum(prod(graph.shape(index)[:-1]) * size for index, size in sizes.items())
    work = uses * min(images_per_chunk(graph, itemsize, CHUNK_BYTES), batch_size // ALIKE)
    return itemsize == 4 and work > LEAST_WORK and work > LEAST_USES * sum(sizes.values())
