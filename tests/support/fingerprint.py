"""A short fingerprint of a network, to detect changes."""

from __future__ import annotations

import hashlib
import json

from cnn_cli.nn.graph import Graph


def fingerprint(graph: Graph) -> str:
    """Hash names, kinds, inputs, shapes, and arguments that are not defaults."""
    nodes = []
    for node in graph.nodes:
        defaults = {name: each.default for name, each in type(node.layer).arguments().items()}
        arguments = {key: value for key, value in node.arguments.items() if value != defaults[key]}
        shapes = [node.layer.out_shape, *(spec.shape for spec in node.layer.params)]
        nodes.append([node.name, node.layer.kind, node.inputs, shapes, sorted(arguments.items())])
    return hashlib.sha256(json.dumps(nodes).encode()).hexdigest()[:16]
