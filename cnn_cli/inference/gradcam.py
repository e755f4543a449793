"""Where a network looks: Grad-CAM (Selvaraju et al. 2017, section 3).

The gradient of one class's score by a layer's maps, averaged over each map, says how much that map
speaks for the class: α_k = mean(∂y_c/∂A_k). The heat map is ReLU(Σ_k α_k A_k).
"""

from __future__ import annotations

import numpy as np

from cnn_cli.errors import DataError, UsageError, suggest
from cnn_cli.nn.attribution import ScoreGradients
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.types import Array

LAYER = "--layer"
MAP = "whose output is a map of more than one pixel"
PASSED_OVER = ("maxpool", "avgpool", "dropout", "identity")


def find_layer(graph: Graph, name: str | None, place: str) -> Node:
    """The layer that is asked.

    Args:
        graph: the network.
        name: of a layer; None for the last one with a map, before any pooling of it.
        place: the checkpoint, for messages.

    Raises:
        UsageError: no layer has that name, or its output is no map.
        DataError: no layer has a map.
    """
    if name is None:
        for node in reversed(graph.nodes):
            if _has_map(node) and node.layer.kind not in PASSED_OVER:
                return node
        raise DataError(place, f"must have a layer {MAP}")
    nodes = {node.name: node for node in graph.nodes}
    if name not in nodes:
        raise UsageError(
            LAYER, f"must be a layer of the network.{suggest(name, nodes)}", repr(name)
        )
    node = nodes[name]
    if not _has_map(node):
        got = f"{name}, of {shape_text(node.layer.out_shape)}"
        raise UsageError(LAYER, f"must be a layer {MAP}", got)
    return node


def heat_maps(found: ScoreGradients) -> Array:
    """Heat maps (n, h, w), each from 0 to 1; all 0 where nothing speaks for the class.

    Args:
        found: with activations and gradients (n, h, w, maps).
    """
    alpha = found.gradients.mean(axis=(1, 2))
    heat: Array = np.einsum("nhwk,nk->nhw", found.activations, alpha).clip(min=0)
    top = heat.max(axis=(1, 2), keepdims=True)
    heat /= np.where(top > 0, top, 1)
    return heat


def _has_map(node: Node) -> bool:
    shape = node.layer.out_shape
    return len(shape) == 3 and shape[0] * shape[1] > 1
