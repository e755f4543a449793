"""How deep each layer lies below the scores, counted in blocks: what `layer_decay` goes by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.conv import Conv

GATES = ("product", "excite")
"""What ends a gate: it weighs the channels or pixels of a map and computes no other."""


def blocks_above(graph: Graph) -> list[int]:
    """By node, how many blocks lie above its own; 0 for the last one, the head.

    A block is a convolution, a linear layer, or all between a place that everything passes through
    and the next one, such as a residual. Layers without such weights, such as normalizations,
    belong to the block before. A depthwise convolution and a gate make no new channels of others:
    they, and what follows them, belong to the block behind.
    """
    found: list[int] = []
    blocks, waiting = 0, False
    for part in _parts(graph):
        if _makes_features(part):
            found += [blocks] * len(part)
            blocks, waiting = blocks + 1, False
            continue
        waiting = waiting or _has_weights(part)
        found += [blocks if waiting else max(blocks - 1, 0)] * len(part)
    return [max(blocks - 1 - block, 0) for block in found]


def _parts(graph: Graph) -> Iterator[Sequence[Node]]:
    """The nodes between one place that everything passes through and the next."""
    nodes, start = graph.nodes, 0
    earliest = len(nodes)  # of the tensors that later nodes read
    ends = []
    for node in reversed(nodes):
        if earliest >= node.index:
            ends.append(node.index + 1)
        earliest = min(earliest, *node.inputs)
    for end in reversed(ends):
        yield nodes[start:end]
        start = end


def _has_weights(part: Sequence[Node]) -> bool:
    return any(spec.role == "weight" for node in part for spec in node.layer.params)


def _makes_features(part: Sequence[Node]) -> bool:
    """Whether a block ends with it."""
    if not _has_weights(part) or part[-1].layer.kind in GATES:
        return False
    return len(part) > 1 or not _is_depthwise(part[0])


def _is_depthwise(node: Node) -> bool:
    layer = node.layer
    return isinstance(layer, Conv) and layer.geometry.groups == layer.in_shape[2] > 1
