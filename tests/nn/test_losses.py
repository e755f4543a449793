"""Every loss: PyTorch's numbers, its own derivative, and scores at the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loss_cases import CASES, CLASSES, arrays_of
from pydantic import TypeAdapter

from cnn_cli.nn.loss import CROSS_ENTROPY, Loss, softmax, target_weights
from cnn_cli.nn.losses import LOSSES, AnyLoss
from cnn_cli.nn.types import Array

GOLDEN = Path(__file__).parent.parent / "golden/losses.npz"
ANY_LOSS: TypeAdapter[Any] = TypeAdapter(AnyLoss)


def loss_of(document: Any) -> Loss:
    loss: Loss = ANY_LOSS.validate_python(document).make()
    return loss


def value_and_gradient(
    loss: Loss, logits: Array, targets: Array, divisor: float
) -> tuple[float, Array]:
    losses, dy = np.empty(len(logits), logits.dtype), np.empty_like(logits)
    loss.forward(logits, targets, losses)
    loss.backward(logits, targets, divisor, dy)
    return float(losses.sum()) / divisor, dy


def case_of(name: str, dtype: Any = np.float64) -> tuple[Loss, Array, Array, float]:
    """The loss of a case, and the scores, targets and divisor that it is asked about."""
    case, arrays = CASES[name], arrays_of(name)
    targets, divisor = target_weights(
        arrays["labels"],
        CLASSES,
        label_smoothing=case.label_smoothing,
        class_weights=None if case.class_weights is None else np.array(case.class_weights),
        partners=(arrays["others"], arrays["ratios"]) if case.mixed else None,
        dtype=dtype,
    )
    return loss_of(case.loss), arrays["logits"].astype(dtype), targets, divisor


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


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_scores_stay_finite(kind: str, gamma: float, size: float) -> None:
    keys = {"type": kind} | ({"gamma": gamma} if kind == "focal" else {})
    logits = np.array([[size, 0.0], [0.0, size], [size, size]], np.float32)
    targets, divisor = target_weights(np.array([0, 0, 1]), 2)
    value, gradient = value_and_gradient(loss_of(keys), logits, targets, divisor)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).max() < 1e-20


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    loss, logits, targets, divisor = case_of("focal_0")
    value, gradient = value_and_gradient(loss, logits, targets, divisor)
    expected, slope = value_and_gradient(CROSS_ENTROPY, logits, targets, divisor)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-15)


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
