"""Stochastic depth: whole images, timm's scaling, and dependence on the image's position only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, make_context, random_input, run_layer

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.layers.drop_path import DropPath
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array


def factors(n: int = 16, **place: Any) -> Array:
    """Return the factors for a batch of ones, at a place given by the contexts' fields."""
    layer = DropPath((2, 3), p=0.4)
    y, _ = layer.forward(np.ones((n, 2, 3)), *make_context(layer).but(**place))
    assert (y == y[:, :1, :1]).all()
    found: Array = y[:, 0, 0].copy()
    return found


@pytest.mark.parametrize("shape", [(4, 3, 5), (7,)])
def test_gradients(shape: Any) -> None:
    layer = DropPath(shape, p=0.4)
    x = random_input(layer, 5, seed=1)
    gradcheck(layer, x, seed=1)
    gradcheck(layer, x, seed=1, training=False)


def test_images_are_kept_or_scaled_as_a_whole() -> None:
    found = factors(4000)
    assert set(found) == {0.0, 1 / 0.6}
    assert abs((found > 0).mean() - 0.6) < 5 * np.sqrt(0.24 / 4000)


def test_evaluation_keeps_everything() -> None:
    layer = DropPath((2, 3), p=0.4)
    x = random_input(layer, 5, seed=1)
    y, _, _ = run_layer(layer, x, training=False)
    np.testing.assert_array_equal(y, x)


def test_choices_differ_by_step_layer_and_seed_and_not_by_chunk() -> None:
    places: list[dict[str, int]] = [{}, {"step": 1}, {"index": 1}, {"seed": 1}]
    assert len({factors(64, **place).tobytes() for place in places}) == 4
    np.testing.assert_array_equal(factors(16)[5:], factors(11, offset=5))


def residual_graph(**arguments: Any) -> Graph:
    block = {"layers": [{"conv": {"out_channels": 3, "kernel_size": 1}}]} | arguments
    layers = [{"residual": block}, "global_avgpool", {"linear": "classes"}]
    config = validate_config({"model": {"layers": layers}}, "a.yaml")
    return build_graph(config.model, (4, 4, 3), 2, "a.yaml")


def test_what_is_off_is_not_there() -> None:
    kinds = [node.layer.kind for node in residual_graph(drop_path=0.0).nodes]
    assert kinds == ["conv", "add", "global_avgpool", "linear"]
    names = [node.name for node in residual_graph(drop_path=0.1).nodes]
    assert names[:3] == ["layers.0.layers.0", "layers.0.drop_path", "layers.0"]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_dropped_branch_leaves_the_shortcut(threads: int) -> None:
    """With nearly everything dropped, the network equals the one without the branch."""
    graph = residual_graph(drop_path=1 - 1e-12)
    params = Parameters(graph, "float64")
    initialize(params, 0, "pytorch")
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 3))
    targets, divisor = target_weights(np.array([0, 1, 0, 1, 1]), 2, dtype="float64")
    with TrainingEngine(graph, params, threads=threads) as engine:
        _, logits = engine.train_step(x, targets, divisor)
        head = params.named()
        name = "layers.2"
        expected = x.mean(axis=(1, 2)) @ head[f"{name}/weight"].T + head[f"{name}/bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-12)
        assert not engine.gradient_views[0]["weight"].any()
