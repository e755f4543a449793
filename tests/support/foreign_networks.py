"""Small networks and their weights, with names and layouts of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.interop.foreign import Foreign, modules_by_name
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

PTH = Path(__file__).parent.parent / "interop/data/zip.pth"
"""Weights that PyTorch saved, of a network with two classes."""
PTH_MODEL = """\
model:
  layers:
    - conv: {out_channels: 4, kernel_size: 3, bias: false}
    - batchnorm
    - relu
    - global_avgpool
    - linear: classes
"""
"""The same network in a config."""


def graph_of(layers: list[Any], in_shape: tuple[int, ...] = (9, 9, 3), classes: int = 4) -> Graph:
    config = validate_config({"model": {"layers": layers}}, "x")
    return build_graph(config.model, in_shape, classes, "x")


def random_parameters(graph: Graph, seed: int = 0, dtype: str = "float64") -> Parameters:
    """Return parameters near 1, and positive variances."""
    params = Parameters(graph, dtype)
    rng = np.random.default_rng(seed)
    for views in (params.views, params.buffer_views):
        for node in graph.nodes:
            for array in views[node.index].values():
                array[...] = rng.uniform(0.5, 1.5, array.shape)
    params.touch()
    return params


def arrays_of(params: Parameters) -> dict[str, Array]:
    return params.named() | params.named_buffers()


def renamed(params: Parameters, names: list[str]) -> Foreign:
    """Return the network's arrays under other layer names, sorted as in safetensors."""
    nodes = [node for node in params.graph.nodes if node.layer.params]
    arrays = arrays_of(params)
    found = {}
    for node, name in zip(nodes, names, strict=True):
        for key, array in arrays.items():
            layer, _, param = key.rpartition("/")
            if layer == node.name:
                found[f"{name}.{param}"] = array
    return Foreign("weights", modules_by_name(dict(sorted(found.items()))))
