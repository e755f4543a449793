"""Mixing images in the engine, against the formulas of mixup and CutMix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array

N, SHAPE = 7, (6, 5, 3)
LAYERS: list[Any] = [
    {"conv": {"out_channels": 4, "kernel_size": 3}},
    "batchnorm",
    "silu",
    {"linear": "classes"},
]
SCALE, SHIFT = np.array([0.01, 0.02, 0.03]), np.array([-1.0, 0.5, 0.0])


def graph() -> Graph:
    config = validate_config({"model": {"layers": LAYERS}}, "mix.yaml")
    return build_graph(config.model, SHAPE, 4, "mix.yaml")


def some_mix() -> Mix:
    """Return mixup, CutMix, neither and both."""
    return Mix(
        partners=np.array([6, 0, 1, 2, 3, 4, 4]),
        ratios=np.array([0.3, 0.8, 1.0, 0.0, 0.9, 0.5, 0.6]),
        strengths=np.array([0.3, 1.0, 1.0, 0.0, 1.0, 0.5, 0.6]),
        boxes=np.array(
            [[0] * 4, [1, 2, 4, 5], [3, 3, 3, 5], [0] * 4, [0, 0, 6, 5], [0] * 4, [0, 1, 2, 3]]
        ),
    )


def mixed(x: Array, mix: Mix) -> Array:
    """Mix pixel by pixel."""
    out = np.empty_like(x)
    for i, y, column in np.ndindex(x.shape[:3]):
        own, other = x[i, y, column], x[mix.partners[i], y, column]
        top, left, bottom, right = mix.boxes[i]
        if top <= y < bottom and left <= column < right:
            own = other
        out[i, y, column] = mix.strengths[i] * own + (1 - mix.strengths[i]) * other
    return out


def test_blend() -> None:
    x, mix = np.random.default_rng(0).normal(size=(N, *SHAPE)), some_mix()
    images = x.copy()
    blend(images, x[mix.partners], mix)
    np.testing.assert_allclose(images, mixed(x, mix), atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_a_step_of_mixed_images(dtype: DTypeLike, threads: int, kind: str) -> None:
    """Like a step with images that were scaled and mixed before; nothing is rounded to bytes."""
    rng, mix = np.random.default_rng(1), some_mix()
    x: Array = rng.integers(0, 256, (N, *SHAPE), np.uint8)
    floats = x * SCALE + SHIFT
    if kind == "floats":
        x = floats.astype(dtype)
    labels = rng.integers(0, 4, N)
    targets, divisor = target_weights(
        labels, 4, partners=(labels[mix.partners], mix.ratios), dtype=dtype
    )
    found = []
    for images, given in ((x, mix), (mixed(floats, mix).astype(dtype), None)):
        params = Parameters(graph(), dtype)
        params.flat[:] = np.random.default_rng(2).normal(size=params.flat.size, scale=0.3)
        before = images.copy()
        with TrainingEngine(graph(), params, threads=threads, scale=SCALE, shift=SHIFT) as engine:
            loss, logits = engine.train_step(images, targets, divisor, mix=given)
            found.append((loss, logits.copy(), engine.gradient.copy()))
            assert [workspace.in_use for workspace in engine.workspaces] == [0] * threads
        np.testing.assert_array_equal(images, before)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


LOGITS = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [-2.0, 0.25, 0.0]])
LABELS, OTHERS = np.array([1, 0, 2]), np.array([2, 1, 2])
RATIOS = np.array([0.7, 0.25, 0.6])
WEIGHTS = np.array([1.0, 2.0, 0.5])


def torch_loss(label_smoothing: float, weights: Array) -> float:
    """Compute what torch.nn.CrossEntropyLoss documents for probabilities as targets.

    -1/N Σ_n Σ_c w_c y_nc log p_nc, with y smoothed first.
    """
    total = 0.0
    for logits, label, other, ratio in zip(LOGITS, LABELS, OTHERS, RATIOS, strict=True):
        y = np.zeros(3)
        y[label] += ratio
        y[other] += 1 - ratio
        y = y * (1 - label_smoothing) + label_smoothing / 3
        total -= float((weights * y * (logits - np.log(np.exp(logits).sum()))).sum())
    return total / 3


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_mixed_targets(label_smoothing: float, weights: Array | None) -> None:
    targets, divisor = target_weights(
        LABELS,
        3,
        label_smoothing=label_smoothing,
        class_weights=weights,
        partners=(OTHERS, RATIOS),
        dtype=np.float64,
    )
    losses = -(targets * (LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True)))).sum(axis=1)
    expected = torch_loss(label_smoothing, np.ones(3) if weights is None else weights)
    assert losses.sum() / divisor == pytest.approx(expected, rel=1e-12)


def test_an_image_mixed_with_itself_is_itself() -> None:
    plain, divisor = target_weights(LABELS, 3, label_smoothing=0.1, dtype=np.float64)
    same, other = target_weights(
        LABELS, 3, label_smoothing=0.1, partners=(LABELS, RATIOS), dtype=np.float64
    )
    np.testing.assert_allclose(same, plain, atol=1e-15)
    assert divisor == other
