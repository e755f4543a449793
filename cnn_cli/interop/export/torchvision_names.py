"""Rename and reshape a network's arrays as in torchvision, for `load_state_dict(strict=True)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import CnnError, DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.params import to_torch
from cnn_cli.nn.types import Array

# One line per network: its name, and torchvision's layers in this program's order; `^` marks a 1×1
# convolution that is a linear layer in torchvision, or the reverse.
FILE = Path(__file__).parent.parent / "torchvision_names.txt"


def torchvision_arrays(classifier: Classifier) -> dict[str, Array]:
    """Return the arrays by torchvision's names, including its batch counters.

    Raises:
        DataError: torchvision has no such network.
    """
    graph, params = classifier.graph, classifier.params
    arrays: dict[str, Array] = {}
    for node, word in zip(_nodes(graph), _words(graph, classifier.path), strict=True):
        name = word.rstrip("^")
        own = {
            spec.name: to_torch(params.views[node.index][spec.name], spec)
            for spec in node.layer.params
        }
        if name.endswith(".layer_scale"):
            arrays[name] = own["weight"].reshape(-1, 1, 1)
            continue
        if word != name:
            weight = own["weight"]
            own["weight"] = weight[:, :, None, None] if weight.ndim == 2 else weight[:, :, 0, 0]
        arrays |= {f"{name}.{key}": array for key, array in own.items()}
        buffers = params.buffer_views[node.index]
        arrays |= {f"{name}.{key}": array for key, array in buffers.items()}
        if buffers:
            arrays[f"{name}.num_batches_tracked"] = np.array(0, np.int64)
    return arrays


def _nodes(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.layer.params]


def _words(graph: Graph, place: Path) -> list[str]:
    """Return the names for the built-in network that has these layers."""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        name, *words = line.split()
        if len(words) == len(_nodes(graph)) and _is_network(graph, name):
            return words
    rule = "--names torchvision is for a network that torchvision has; cnn networks lists them"
    raise DataError(place, rule)


def _is_network(graph: Graph, name: str) -> bool:
    config = validate_config(parse_yaml(network_text(name), name), name)
    try:
        other = build_graph(config.model, graph.in_shape, graph.classes, name)
    except CnnError:  # the images are too small for it
        return False
    return _layout(graph) == _layout(other)


def _layout(graph: Graph) -> list[object]:
    """Return the layers with arrays, and which other layers lie between them."""
    return [
        (node.layer.kind, node.layer.out_shape, [spec.shape for spec in node.layer.params])
        for node in graph.nodes
        if node.layer.kind not in ("dropout", "drop_path")
    ]
