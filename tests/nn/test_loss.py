"""Softmax cross-entropy, against PyTorch's results and its own derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cnn_cli.nn.loss import cross_entropy, cross_entropy_gradient, softmax, target_weights
from cnn_cli.nn.types import Array

LOGITS = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [-2.0, 0.25, 0.0]])
LABELS = np.array([1, 0, 2])
WEIGHTS = np.array([1.0, 2.0, 0.5])

# torch.nn.functional.cross_entropy of the above in float64, and the gradient of LOGITS.
TORCH: list[tuple[dict[str, Any], float, list[list[float]]]] = [
    (
        {},
        1.285462835607061,
        [
            [0.0864988201141397, -0.0982051624339196, 0.011706342319779909],
            [-0.3091595181064174, 0.014662160097352614, 0.29449735800906474],
            [0.018646149406445017, 0.17690973993362363, -0.19555588934006862],
        ],
    ),
    (
        {"label_smoothing": 0.1},
        1.3271295022737277,
        [
            [0.0753877090030286, -0.07598294021169735, 0.0005952312086687999],
            [-0.2869372958841952, 0.003551048986241505, 0.2833862468979537],
            [0.007535038295333907, 0.16579862882251253, -0.17333366711784642],
        ],
    ),
    (
        {"class_weights": WEIGHTS},
        1.075328302213587,
        [
            [0.1482836916242395, -0.16835170702957644, 0.020068015405336988],
            [-0.26499387266264346, 0.012567565797730811, 0.25242630686491263],
            [0.007991206888476437, 0.075818459971553, -0.08380966686002941],
        ],
    ),
    (
        {"class_weights": WEIGHTS, "label_smoothing": 0.3},
        1.2455115193744863,
        [
            [0.101176801599781, -0.10445060079373653, 0.00327379919395558],
            [-0.20681499486720423, -0.04394691305523979, 0.250761907922444],
            [-0.017383738927561558, 0.04900298681731705, -0.03161924788975546],
        ],
    ),
]
IDS = ["plain", "smoothing", "weights", "both"]


def loss_of(logits: Array, labels: Array = LABELS, **options: Any) -> float:
    targets, divisor = target_weights(labels, logits.shape[1], dtype=logits.dtype, **options)
    losses = np.empty(len(logits), logits.dtype)
    cross_entropy(logits, targets, losses)
    return float(losses.sum()) / divisor


def gradient_of(logits: Array, labels: Array = LABELS, **options: Any) -> Array:
    targets, divisor = target_weights(labels, logits.shape[1], dtype=logits.dtype, **options)
    dy = np.empty_like(logits)
    cross_entropy_gradient(logits, targets, divisor, dy)
    return dy


@pytest.mark.parametrize(("options", "loss", "gradient"), TORCH, ids=IDS)
def test_as_torch(options: dict[str, Any], loss: float, gradient: list[list[float]]) -> None:
    assert loss_of(LOGITS, **options) == pytest.approx(loss, rel=1e-7)
    np.testing.assert_allclose(gradient_of(LOGITS, **options), gradient, rtol=1e-6)


@pytest.mark.parametrize("options", [case[0] for case in TORCH], ids=IDS)
def test_the_gradient_is_the_derivative(options: dict[str, Any]) -> None:
    gradient = gradient_of(LOGITS, **options)
    step = 1e-6
    for place in np.ndindex(LOGITS.shape):
        up, down = LOGITS.copy(), LOGITS.copy()
        up[place] += step
        down[place] -= step
        slope = (loss_of(up, **options) - loss_of(down, **options)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-8)


def test_inputs_are_left_and_the_gradient_may_be_written_over_them() -> None:
    logits = LOGITS.copy()
    targets, divisor = target_weights(LABELS, 3, dtype=np.float64)
    expected = gradient_of(logits)
    assert (logits == LOGITS).all()
    cross_entropy_gradient(logits, targets, divisor, logits)
    assert (logits == expected).all()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_scores_do_not_overflow(size: float) -> None:
    logits = np.array([[size, 0.0], [0.0, size]], np.float32)
    assert loss_of(logits, np.array([0, 1])) == 0.0
    assert loss_of(logits, np.array([1, 1])) == pytest.approx(size / 2)
    assert gradient_of(logits, np.array([1, 1])).tolist() == [[0.5, -0.5], [0.0, 0.0]]


def test_even_scores_cost_the_log_of_the_number_of_classes() -> None:
    logits = np.zeros((4, 10), np.float32)
    labels = np.array([0, 3, 5, 9])
    assert loss_of(logits, labels) == pytest.approx(math.log(10), rel=1e-6)
    assert loss_of(logits, labels, label_smoothing=0.2) == pytest.approx(math.log(10), rel=1e-6)


def test_softmax() -> None:
    y = softmax(LOGITS)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(y[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum(), rtol=1e-15)
    assert softmax(np.array([[1000.0, 1000.0]])).tolist() == [[0.5, 0.5]]


def test_targets_are_of_the_type_asked_for() -> None:
    for dtype in (np.float32, np.float64):
        targets, _ = target_weights(LABELS, 3, class_weights=WEIGHTS, dtype=dtype)
        assert targets.dtype == dtype


def test_smoothing_spreads_evenly() -> None:
    targets, divisor = target_weights(LABELS, 4, label_smoothing=0.2, dtype=np.float64)
    np.testing.assert_allclose(targets.sum(axis=1), 1)
    np.testing.assert_allclose(targets[0], [0.05, 0.85, 0.05, 0.05])
    assert divisor == 3


def test_a_batch_of_weight_zero_has_loss_and_gradient_zero() -> None:
    options = {"class_weights": np.array([0.0, 1.0, 1.0])}
    labels = np.array([0, 0, 0])
    assert loss_of(LOGITS, labels, **options) == 0
    assert not gradient_of(LOGITS, labels, **options).any()
