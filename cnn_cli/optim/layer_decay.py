"""The depth of each layer below the scores, counted in blocks, for `layer_decay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.conv import Conv

GATE_KINDS = ("product", "excite")
"""Layers that apply a gate: they scale the channels or pixels of a map and compute no new ones."""


def blocks_above(graph: Graph) -> list[int]:
    """Return for each node the number of blocks above its own; 0 for the last one, the head.

    A block is a convolution, a linear layer, or everything between two bottlenecks of the graph,
    such as a residual. Layers without such weights, such as normalizations, belong to the preceding
    block. A depthwise convolution and a gate mix no channels, so they, and what follows them,
    belong to the next block.
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
    """Yield the nodes between consecutive bottlenecks: tensors through which everything passes."""
    nodes, start = graph.nodes, 0
    earliest = len(nodes)  # earliest tensor read by later nodes
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
    """Whether these nodes end a block."""
    if not _has_weights(part) or part[-1].layer.kind in GATE_KINDS:
        return False
    return len(part) > 1 or not _is_depthwise(part[0])


def _is_depthwise(node: Node) -> bool:
    layer = node.layer
    return isinstance(layer, Conv) and layer.geometry.groups == layer.in_shape[2] > 1
