"""Fold batch normalization into the preceding convolution, for evaluation.

With running statistics, batch normalization is an affine map per channel: y = scale·(W x + b) +
shift = (scale·W) x + (scale·b + shift). Folded, it costs nothing.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.base import Layer, ParamSpec
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.params import Parameters
from cnn_cli.structs import replace


class FoldedNetwork:
    """An evaluation network without the batch normalizations that follow a convolution.

    Attributes:
        graph: the shorter list of nodes, with unchanged names; one is frozen if all its originals
            are.
        params: parameters of that graph; `refresh` updates them.
    """

    def __init__(self, graph: Graph, source: Parameters) -> None:
        self.source = source
        # For each node of the short graph: its original, and the batchnorm folded into it.
        self._origin: list[tuple[Node, Node | None]] = []
        self.graph = self._shorten(graph)
        self.params = Parameters(self.graph, source.dtype)
        self._version: int | None = None

    def refresh(self) -> None:
        """Update the parameters if those of the source have changed."""
        if self._version == self.source.version:
            return
        self._version = self.source.version
        for i, (node, norm) in enumerate(self._origin):
            for ours, theirs in (
                (self.params.views[i], self.source.views[node.index]),
                (self.params.buffer_views[i], self.source.buffer_views[node.index]),
            ):
                for name, view in theirs.items():
                    ours[name][...] = view
            if norm is not None:
                self._fold(i, node, norm)
        self.params.touch()

    def _fold(self, i: int, node: Node, norm: Node) -> None:
        if not isinstance(norm.layer, BatchNorm):
            raise TypeError(f"{norm.name} cannot be folded into the layer before it")
        affine, running = self.source.views[norm.index], self.source.buffer_views[norm.index]
        scale = affine["weight"] / np.sqrt(running["running_var"] + norm.layer.eps)
        shift = affine["bias"] - running["running_mean"] * scale
        ours = self.params.views[i]
        ours["weight"] *= scale  # (kh, kw, c, o): per output channel
        ours["bias"][...] = scale * self.source.views[node.index].get("bias", 0.0) + shift

    def _shorten(self, graph: Graph) -> Graph:
        readers = graph.reader_counts()
        moved = {IMAGE: IMAGE}
        nodes: list[Node] = []
        frozen: set[int] = set()
        for node in graph.nodes:
            before = node.inputs[0]
            if (
                isinstance(node.layer, BatchNorm)
                and before != IMAGE
                and isinstance(graph.nodes[before].layer, Conv)
                and readers[before] == 1
            ):
                at = moved[node.index] = moved[before]
                nodes[at] = replace(nodes[at], layer=_with_bias(nodes[at].layer))
                self._origin[at] = (graph.nodes[before], node)
                frozen -= set() if node.index in graph.frozen else {at}
                continue
            moved[node.index] = len(nodes)
            inputs = tuple(moved[tensor] for tensor in node.inputs)
            nodes.append(replace(node, index=len(nodes), inputs=inputs))
            self._origin.append((node, None))
            frozen |= {len(nodes) - 1} if node.index in graph.frozen else set()
        return Graph(tuple(nodes), graph.in_shape, graph.classes, frozenset(frozen))


def _with_bias(layer: Layer) -> Layer:
    layer = copy(layer)
    if all(spec.name != "bias" for spec in layer.params):
        weight = layer.params[0]
        layer.params = (*layer.params, ParamSpec("bias", weight.shape[-1:], "bias", weight.fan_in))
    return layer
