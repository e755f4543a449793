"""Every loss: PyTorch's results, its own derivative, and extreme scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loss_cases import CASES, CLASSES, arrays_of
from pydantic import TypeAdapter

from cnn_cli.nn.loss import CROSS_ENTROPY, Loss, sigmoid, softmax, softplus, target_weights
from cnn_cli.nn.losses import LOSSES, AnyLoss
from cnn_cli.nn.losses.base import LossConfig
from cnn_cli.nn.types import Array

GOLDEN = Path(__file__).parent.parent / "golden/losses.npz"
ANY_LOSS: TypeAdapter[Any] = TypeAdapter(AnyLoss)


def loss_of(document: Any, multiple: bool = False, weights: Array | None = None) -> Loss:
    config: LossConfig = ANY_LOSS.validate_python(document)
    return config.make(multiple=multiple, weights=weights)


def value_and_gradient(
    loss: Loss, logits: Array, targets: Array, divisor: float
) -> tuple[float, Array]:
    losses, dy = np.empty(len(logits), logits.dtype), np.empty_like(logits)
    loss.forward(logits, targets, losses)
    loss.backward(logits, targets, divisor, dy)
    return float(losses.sum()) / divisor, dy


def case_of(name: str, dtype: Any = np.float64) -> tuple[Loss, Array, Array, float]:
    """Return the loss of a case, and its scores, targets and divisor."""
    case, arrays = CASES[name], arrays_of(name)
    weights = None if case.class_weights is None else np.array(case.class_weights)
    config: LossConfig = ANY_LOSS.validate_python(case.loss)
    weighed = weights if config.weighs_targets(multiple=case.several) else None
    targets, divisor = target_weights(
        arrays["labels"],
        CLASSES,
        label_smoothing=case.label_smoothing,
        class_weights=weighed,
        partners=(arrays["others"], arrays["ratios"]) if case.mixed else None,
        dtype=dtype,
    )
    loss = loss_of(case.loss, case.several, weights if weighed is None else None)
    return loss, arrays["logits"].astype(dtype), targets, divisor


def test_each_loss_has_a_case() -> None:
    assert {case.loss["type"] for case in CASES.values()} == set(LOSSES)


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name: str) -> None:
    value, gradient = value_and_gradient(*case_of(name))
    with np.load(GOLDEN) as expected:
        assert value == pytest.approx(float(expected[f"{name}/loss"]), rel=1e-12)
        np.testing.assert_allclose(gradient, expected[f"{name}/gradient"], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_float32_is_near(name: str) -> None:
    value, gradient = value_and_gradient(*case_of(name, np.float32))
    expected, slope = value_and_gradient(*case_of(name))
    assert gradient.dtype == np.float32
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_the_derivative(name: str) -> None:
    loss, logits, targets, divisor = case_of(name)
    _, gradient = value_and_gradient(loss, logits, targets, divisor)
    step = 1e-6
    for place in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[place] += step
        down[place] -= step
        above, _ = value_and_gradient(loss, up, targets, divisor)
        below, _ = value_and_gradient(loss, down, targets, divisor)
        assert gradient[place] == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_may_be_written_over_the_scores(name: str) -> None:
    loss, logits, targets, divisor = case_of(name)
    _, expected = value_and_gradient(loss, logits, targets, divisor)
    loss.backward(logits, targets, divisor, logits)
    assert (logits == expected).all()


KINDS = [(kind, labels) for kind, loss in LOSSES.items() for labels in loss.labels]


@pytest.mark.parametrize(("kind", "labels"), KINDS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_scores_stay_finite(kind: str, labels: str, gamma: float, size: float) -> None:
    keys = {"type": kind} | ({"gamma": gamma} if kind == "focal" else {})
    logits = np.array([[size, -size], [-size, size], [size, size]], np.float32)
    numbers = np.array([0, 0, 1])
    several = labels == "multiple"
    given = np.eye(2, dtype=np.uint8)[numbers] if several else numbers
    targets, divisor = target_weights(given, 2)
    value, gradient = value_and_gradient(loss_of(keys, several), logits, targets, divisor)
    assert np.isfinite(value) or size == 1e30  # its square overflows float32
    assert np.isfinite(gradient).all() or size == 1e30
    assert np.abs(gradient[0]).max() < 1e-20


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    loss, logits, targets, divisor = case_of("focal_0")
    value, gradient = value_and_gradient(loss, logits, targets, divisor)
    expected, slope = value_and_gradient(CROSS_ENTROPY, logits, targets, divisor)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-15)


def test_focal_of_several_labels_with_gamma_0_is_binary_cross_entropy() -> None:
    loss, logits, targets, divisor = case_of("focal_labels_0")
    value, gradient = value_and_gradient(loss, logits, targets, divisor)
    expected, slope = value_and_gradient(loss_of("bce", True), logits, targets, divisor)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-15)


def test_targets_of_several_labels() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    targets, divisor = target_weights(labels, 3)
    assert targets.dtype == np.float32
    assert (targets.tolist(), divisor) == (labels.tolist(), 2)
    smooth, _ = target_weights(labels, 3, label_smoothing=0.2, dtype=np.float64)
    np.testing.assert_allclose(smooth, [[0.9, 0.1, 0.9], [0.1, 0.1, 0.1]])
    partners = labels[::-1], np.array([0.75, 1.0])
    mixed, divisor = target_weights(labels, 3, partners=partners, dtype=np.float64)
    np.testing.assert_allclose(mixed, [[0.75, 0.0, 0.75], [0.0, 0.0, 0.0]])
    assert divisor == 2


def test_the_sigmoid_keeps_its_precision_and_its_order() -> None:
    logits = np.array([-100.0, -30, -1, 0, 1, 30, 1e30], np.float32)
    y, exact = sigmoid(logits), 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[1:], exact[1:].astype(np.float32), rtol=3e-7)
    assert (np.diff(y) >= 0).all()
    np.testing.assert_allclose(softplus(logits)[1:-1], np.log1p(np.exp(logits[1:-1])), rtol=3e-7)


def test_focal_is_the_papers_formula() -> None:
    logits = np.array([[1.0, 0.0, -1.0]])
    p = softmax(logits)[0, 1]
    value, _ = value_and_gradient(loss_of("focal"), logits, *target_weights(np.array([1]), 3))
    assert value == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-7)


def test_a_score_that_is_no_number_shows() -> None:
    logits = np.array([[np.nan, 0.0]], np.float32)
    with np.errstate(invalid="ignore"):
        given = target_weights(np.array([1]), 2)
        value, gradient = value_and_gradient(loss_of("focal"), logits, *given)
    assert np.isnan(value)
    assert np.isnan(gradient).all()
