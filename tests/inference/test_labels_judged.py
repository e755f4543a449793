"""Metrics and thresholds with several labels per image, against scikit-learn and definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_metric_cases import CASES, arrays_of

from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.several_labels import (
    HALF,
    LabelsEvaluation,
    LabelsJudgement,
    best_thresholds,
)
from cnn_cli.metric_names import Metric, overall_of
from cnn_cli.nn.loss import sigmoid
from cnn_cli.nn.types import Array

GOLDEN = np.load(Path(__file__).parent.parent / "golden/label_metrics.npz")


def evaluation_of(logits: Array, labels: Array) -> LabelsEvaluation:
    return LabelsEvaluation.of(logits, labels, np.arange(len(labels)))


def judgement_of(name: str) -> LabelsJudgement:
    logits, labels, thresholds = arrays_of(name)
    names = [f"c{i}" for i in range(labels.shape[1])]
    return LabelsJudgement(evaluation_of(logits, labels), names, thresholds.tolist())


def close(value: float | None, expected: float) -> bool:
    if value is None or np.isnan(expected):
        return value is None and bool(np.isnan(expected))
    return value == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_those_of_scikit_learn(name: str) -> None:
    judgement = judgement_of(name)
    for metric in ("top1", "top2", *overall_of("multiple")):
        expected = float(GOLDEN[f"{name}/{metric}"])
        assert close(judgement.value(Metric(metric)), expected), metric


@pytest.mark.parametrize("name", CASES)
def test_scores_of_classes_are_those_of_scikit_learn(name: str) -> None:
    judgement = judgement_of(name)
    for i, label in enumerate(judgement.classes):
        scores, ranking = judgement.by_class[label], judgement.rankings[i]
        for metric in ("precision", "recall", "f1"):
            expected = float(GOLDEN[f"{name}/{metric}"][i])
            assert close(getattr(scores, metric), expected), (label, metric)
            assert close(judgement.value(Metric(metric, label)), expected)
        assert scores.support == GOLDEN[f"{name}/support"][i]
        assert close(None if ranking is None else ranking[1], float(GOLDEN[f"{name}/ap"][i]))


def test_no_images_and_numbers_that_are_not_finite() -> None:
    none = evaluation_of(np.empty((0, 3)), np.empty((0, 3), np.uint8))
    judgement = LabelsJudgement(none, "abc", (HALF,) * 3)
    names = ("top1", *overall_of("multiple"))
    assert all(judgement.value(Metric(name)) is None for name in names)
    assert best_thresholds(none) == (HALF,) * 3
    assert none.totals.tolist() == [0, 0, 0]
    broken = evaluation_of(np.array([[np.nan, 1.0], [1.0, 2.0]]), np.eye(2, dtype=np.uint8))
    judgement = LabelsJudgement(broken, "ab", best_thresholds(broken))
    for name in ("loss", "brier", "auc", "average_precision"):
        assert judgement.value(Metric(name)) is None
    assert judgement.value(Metric("recall", "c")) is None


def test_an_image_without_finite_scores_is_a_mistake() -> None:
    """Not even that none of its labels is predicted is right."""
    logits = np.array([[np.nan, np.nan], [np.nan, 1.0], [-1.0, -2.0]])
    labels = np.array([[0, 0], [1, 0], [0, 0]], np.uint8)
    evaluation = evaluation_of(logits, labels)
    judgement = LabelsJudgement(evaluation, "ab", (HALF, HALF))
    assert judgement.right.tolist() == [False, False, True]
    assert judgement.value(Metric("top1")) == 0
    assert evaluation.totals[1:].tolist() == [0, 3]


def f1_at(threshold: float, scores: Array, own: Array) -> float:
    found = scores >= threshold
    return float(2 * (found & own).sum() / (found.sum() + own.sum()))


@given(st.data())
def test_no_threshold_is_better(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    level = st.sampled_from([-3.0, -1.0, 0.0, 0.25, 2.0, 40.0])
    logits = np.array(data.draw(st.lists(level, min_size=n, max_size=n)))[:, None]
    own = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    (threshold,) = best_thresholds(evaluation_of(logits, own[:, None].astype(np.uint8)))
    assert 0 <= threshold <= 1
    if own.all() or not own.any():
        assert threshold == HALF
        return
    scores = sigmoid(logits[:, 0])
    best = max(f1_at(score, scores, own) for score in scores)
    assert f1_at(threshold, scores, own) == pytest.approx(best, abs=1e-15)


def test_thresholds_lie_between_probabilities_and_near_the_middle() -> None:
    p = np.array([0.9, 0.8, 0.3, 0.2])
    logits = np.log(p / (1 - p))[:, None]
    right = np.array([1, 1, 0, 0], np.uint8)[:, None]
    assert best_thresholds(evaluation_of(logits, right)) == pytest.approx((0.55,))
    # Both 0.895 and 0.15 give an F1 of 2/3; below the lowest probability, 0 is the next.
    p = np.array([0.99, 0.8, 0.4, 0.3])
    equal = np.array([1, 0, 0, 1], np.uint8)[:, None]
    logits = np.log(p / (1 - p))[:, None]
    assert best_thresholds(evaluation_of(logits, equal)) == pytest.approx((0.15,))


def test_joined_parts_are_the_whole() -> None:
    logits, labels, _ = arrays_of("plain")
    whole = evaluation_of(logits, labels).at_temperature(1.7)
    cuts = (slice(0, 0), slice(0, 90), slice(90, None))
    parts = [LabelsEvaluation.of(logits[at], labels[at], np.arange(300)[at], 1.7) for at in cuts]
    joined = LabelsEvaluation.joined(parts)
    for name in ("labels", "indices", "logits", "losses", "totals", "probabilities"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    rows = np.array([3, 3, 120])
    for name in ("labels", "losses", "probabilities"):
        np.testing.assert_array_equal(getattr(whole.at(rows), name), getattr(whole, name)[rows])


def test_probabilities_of_1_are_ranked_by_their_logits() -> None:
    evaluation = evaluation_of(np.array([[40.0], [50.0]]), np.array([[0], [1]], np.uint8))
    assert evaluation.probabilities.tolist() == [[1.0], [1.0]]
    assert LabelsJudgement(evaluation, "a", (HALF,)).value(Metric("auc")) == 1


def test_answers_of_each_label_are_counted() -> None:
    """A probability at the threshold is a yes."""
    logits = np.array([[0.0, -1.0], [1.0, 1.0], [-1.0, 2.0], [3.0, -2.0], [2.0, -3.0]])
    labels = np.array([[0, 0], [1, 0], [1, 1], [1, 1], [0, 1]], np.uint8)
    judgement = LabelsJudgement(evaluation_of(logits, labels), "ab", (HALF, HALF))
    right_no, wrong_yes, wrong_no, right_yes = judgement.confusions.T.tolist()
    assert (right_no, wrong_yes, wrong_no, right_yes) == ([0, 1], [2, 1], [1, 2], [2, 1])


def test_labels_are_those_at_their_thresholds_or_above() -> None:
    several = SeveralLabels("|", (0.5, 0.25, 0.9))
    assert several.of(np.array([0.5, 0.8, 0.89])) == [1, 0]
    assert several.of(np.array([0.5, 0.8, 0.89]), 0.6) == [1]
    assert several.of(np.array([0.4, 0.2, 0.1])) == []
    assert several.text(["b", "a"]) == "b|a"
    assert several.text([]) == "none"
