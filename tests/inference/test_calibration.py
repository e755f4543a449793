"""Temperature scaling: the best temperature, its effects, and its storage in a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import error_of, example

from cnn_cli.inference.calibration import (
    Calibration,
    best_temperature,
    calibrate,
    changing,
    store,
)
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.metrics import expected_calibration_error
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.nn.loss import sigmoid, softmax
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

FOUND = Calibration(1.5, 10, 0.5, 0.4, 0.1, 0.05)


def sample(temperature: float, n: int = 4000) -> tuple[Array, Array]:
    """Return logits that are too large by a factor, and labels drawn from the true
    probabilities.
    """
    rng = np.random.default_rng(0)
    true = rng.standard_normal((n, 5)) * 2
    labels = (softmax(true).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return (true * temperature).astype(np.float32), labels


def mean_loss(logits: Array, labels: Array, temperature: float) -> float:
    p = softmax(logits.astype(np.float64) / temperature)
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def evaluation(logits: Array, labels: Array) -> Evaluation:
    found = Evaluation.of(logits, labels, np.arange(len(labels)))
    return replace(found, logits=logits)


@pytest.mark.parametrize("true", [0.02, 0.5, 1.0, 3.0, 80.0])
def test_the_true_temperature_is_found(true: float) -> None:
    logits, labels = sample(true)
    before = logits.copy()
    found = best_temperature(logits, labels)
    np.testing.assert_array_equal(logits, before)
    assert found is not None
    assert found == pytest.approx(true, rel=0.05)
    best = mean_loss(logits, labels, found)
    for other in (0.5 * found, 0.999 * found, 1.001 * found, 2 * found):
        assert best < mean_loss(logits, labels, other)


@pytest.mark.parametrize("true", [0.5, 3.0])
def test_that_of_sigmoids(true: float) -> None:
    rng = np.random.default_rng(0)
    right = rng.standard_normal((2000, 4)) * 2
    labels = (rng.random((2000, 4)) < sigmoid(right)).astype(np.uint8)
    logits = (right * true).astype(np.float32)
    found = best_temperature(logits, labels)
    assert found == pytest.approx(true, rel=0.05)
    before = LabelsEvaluation.of(logits, labels, np.arange(2000))
    calibrated = calibrate(before)
    assert calibrated is not None
    assert calibrated.temperature == found
    assert (calibrated.ece_before, calibrated.ece_after) == (None, None)
    assert (calibrated.images, calibrated.loss_before) == (2000, before.loss)
    after = before.at_temperature(found or 1)
    assert calibrated.loss_after == after.loss < before.loss
    np.testing.assert_allclose(after.probabilities, sigmoid(right), atol=0.02)
    for other in (0.98, 1.02):
        assert after.loss < before.at_temperature((found or 1) * other).loss


def test_there_is_none_where_all_is_right_or_guessing_is_better() -> None:
    logits = np.array([[2.0, 0], [0, 1]])
    assert best_temperature(logits, np.array([0, 1])) is None
    assert best_temperature(logits, np.array([1, 0])) is None
    signs = np.array([[2.0, -1], [-3, 1]])
    assert best_temperature(signs, np.array([[1, 0], [0, 1]])) is None
    assert best_temperature(signs, np.array([[0, 1], [1, 0]])) is None
    assert calibrate(evaluation(logits, np.array([0, 1]))) is None


def test_calibration_says_what_changes() -> None:
    logits, labels = sample(3.0)
    before = evaluation(logits, labels)
    found = calibrate(before)
    assert found is not None
    after = before.at_temperature(found.temperature)
    assert found.images == 4000
    assert (found.loss_before, found.loss_after) == (before.loss, after.loss)
    assert after.loss == pytest.approx(mean_loss(logits, labels, found.temperature), rel=1e-5)
    assert after.losses.mean() == pytest.approx(after.loss, rel=1e-5)
    assert found.ece_before == expected_calibration_error(before.confidences, before.right)
    assert found.ece_after is not None
    assert found.ece_after < 0.02
    assert found.ece_before > 0.1
    np.testing.assert_array_equal(after.guesses, before.guesses)
    assert before.at_temperature(1.0) is before


def test_a_checkpoint_keeps_it_beside_all_it_had(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_checkpoint(path, example())
    before = load_checkpoint(path)
    store(path, FOUND)
    after = load_checkpoint(path)
    assert after.meta.pop("calibration") == {
        "temperature": 1.5,
        "images": 10,
        "loss_before": 0.5,
        "loss_after": 0.4,
        "ece_before": 0.1,
        "ece_after": 0.05,
    }
    assert after.meta == before.meta
    for group, arrays in before.groups.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(after.groups[group][name], array)
    content = path.read_bytes()
    store(path, FOUND)
    assert path.read_bytes() == content, "the same again changes nothing"


@pytest.mark.parametrize(
    "calibration", [[], {}, {"temperature": "1"}, {"temperature": 0}, {"temperature": 1e9}]
)
def test_checkpoints_that_no_temperature_can_be_taken_from(
    tmp_path: Path, calibration: object
) -> None:
    checkpoint = example()
    checkpoint.meta["calibration"] = calibration
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    rule = "meta.calibration must be a mapping with a temperature from 0.01 to 100."
    assert error_of(tmp_path / "m.npz") == rule


def test_a_folder_that_is_no_run_gets_no_lock(tmp_path: Path) -> None:
    with changing(tmp_path / "m.npz"):
        assert list(tmp_path.iterdir()) == []
