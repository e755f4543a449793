"""Grad-CAM: the formula, and the layers that it can explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import DataError, UsageError
from cnn_cli.inference.gradcam import find_layer, heat_maps
from cnn_cli.nn.attribution import ScoreGradients
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.types import Array

CONV = {"conv": {"out_channels": 4, "kernel_size": 3, "padding": 1}}


def network(*layers: Any) -> Graph:
    config = validate_config({"model": {"layers": list(layers)}}, "x")
    return build_graph(config.model, (8, 8, 3), 2, "x")


def gradients(activations: Array, slopes: Array) -> ScoreGradients:
    nothing = np.zeros(len(activations), np.int64)
    return ScoreGradients(np.zeros((len(activations), 2)), nothing, activations, slopes)


def test_heat_is_the_formula_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    activations, slopes = rng.standard_normal((2, 3, 4, 5, 6))
    heat = heat_maps(gradients(activations, slopes))
    for n in range(3):
        expected = np.zeros((4, 5))
        for k in range(6):
            alpha = sum(slopes[n, i, j, k] for i in range(4) for j in range(5)) / 20
            expected += alpha * activations[n, :, :, k]
        expected = np.maximum(expected, 0)
        np.testing.assert_allclose(heat[n], expected / expected.max(), rtol=1e-12)
    assert heat.max() == 1


def test_nothing_speaks_for_the_class() -> None:
    ones = np.ones((1, 2, 2, 3))
    np.testing.assert_array_equal(heat_maps(gradients(ones, -ones)), np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ([CONV, "relu", {"maxpool": 2}, {"linear": "classes"}], "layers.1"),
        ([CONV, "batchnorm", "relu", "global_avgpool", {"linear": "classes"}], "layers.2"),
        ([CONV, {"residual": {"layers": [CONV]}}, {"dropout": 0.5}, {"linear": "classes"}], None),
        # A map of a single pixel has no regions.
        ([CONV, {"avgpool": 8}, "relu", {"linear": "classes"}], "layers.0"),
    ],
)
def test_the_last_map_before_pooling(layers: list[Any], name: str | None) -> None:
    assert find_layer(network(*layers), None, "m.npz").name == (name or "layers.1")


def test_layers_by_name() -> None:
    stem = {"conv": {"out_channels": 4, "kernel_size": 3, "name": "stem"}}
    graph = network(stem, "relu", {"linear": "classes"})
    assert find_layer(graph, "stem", "m.npz") is graph.nodes[0]
    with pytest.raises(UsageError) as caught:
        find_layer(graph, "stm", "m.npz")
    rule = "must be a layer of the network. Did you mean 'stem'? Got 'stm'."
    assert caught.value.line() == f"--layer: {rule}"
    with pytest.raises(UsageError) as caught:
        find_layer(graph, "layers.2", "m.npz")
    rule = (
        "must be a layer whose output is a map of more than one pixel. "
        "Got layers.2, whose output is 2."
    )
    assert caught.value.line() == f"--layer: {rule}"


def test_a_network_without_maps() -> None:
    with pytest.raises(DataError) as caught:
        find_layer(network({"linear": "classes"}), None, "m.npz")
    rule = "must have a layer whose output is a map of more than one pixel."
    assert caught.value.line() == f"m.npz: {rule}"
