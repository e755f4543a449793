"""Every metric against scikit-learn's, from the golden file of `tests/golden/make_metrics.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_cases import CASES, logits_of

from cnn_cli import strict_json
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.metrics import ranking_scores, threshold_curve
from cnn_cli.metric_names import OVERALL, PER_CLASS, Metric
from cnn_cli.nn.types import Array

GOLDEN = np.load(Path(__file__).parent.parent / "golden/metrics.npz")
NEED_SCORES = [name for name, kind in OVERALL.items() if kind.needs_scores]


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


def evaluation(
    logits: Array, labels: Array, temperature: float = 1.0, keep: bool = True
) -> Evaluation:
    """Evaluate in batches, as `evaluate` does."""
    rows = np.arange(len(labels))
    parts = [
        Evaluation.of(logits[at], labels[at], rows[at], temperature)
        for at in (slice(start, start + 64) for start in range(0, max(len(labels), 1), 64))
    ]
    joined = Evaluation.joined(parts)
    return Evaluation(
        **{field: getattr(joined, field) for field in Evaluation.__slots__}
        | {"logits": logits if keep else None}
    )


def judge(name: str) -> Judgement:
    logits, labels = logits_of(CASES[name])
    return Judgement(evaluation(logits, labels), names(CASES[name].classes))


def same(found: float | None, expected: Array) -> None:
    if np.isnan(expected):
        assert found is None
    else:
        assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_those_of_scikit_learn(name: str) -> None:
    judgement = judge(name)
    keys = [key.partition("/")[2] for key in GOLDEN.files if key.startswith(f"{name}/")]
    metrics = [key for key in keys if key in OVERALL or Metric(key).k is not None]
    assert set(OVERALL) - set(metrics) == {"ece"}
    for key in metrics:
        same(judgement.value(Metric(key)), GOLDEN[f"{name}/{key}"])
    if f"{name}/macro_auc" in GOLDEN.files:
        same(judgement.auc, GOLDEN[f"{name}/macro_auc"])


@pytest.mark.parametrize("name", CASES)
def test_scores_of_classes_are_those_of_scikit_learn(name: str) -> None:
    judgement, classes = judge(name), names(CASES[name].classes)
    for metric in PER_CLASS:
        for one, expected in zip(classes, GOLDEN[f"{name}/{metric}"], strict=True):
            same(judgement.value(Metric(metric, one)), expected)
    support = [scores.support for scores in judgement.by_class.values()]
    assert support == GOLDEN[f"{name}/support"].tolist()


@pytest.mark.parametrize("name", [name for name in CASES if f"{name}/roc" in GOLDEN.files])
def test_curves_are_those_of_scikit_learn(name: str) -> None:
    logits, labels = logits_of(CASES[name])
    of = int(GOLDEN[f"{name}/of"])
    columns = list(evaluation(logits, labels).probabilities_by_class())
    own = labels == of
    found, taken = threshold_curve(columns[of], own)
    roc, pr = GOLDEN[f"{name}/roc"], GOLDEN[f"{name}/pr"]
    np.testing.assert_allclose(roc[0][1:], (taken - found) / (~own).sum(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(roc[1][1:], found / own.sum(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(pr[0][-2::-1], found / own.sum(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(pr[1][-2::-1], found / taken, rtol=0, atol=1e-12)


def test_ranking_counts_pairs() -> None:
    """Against an explicit loop over pairs."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        scores, own = rng.integers(0, 6, 30) / 8, rng.random(30) < 0.4
        both = ranking_scores(scores, own)
        assert both is not None
        pairs = [(a > b) + (a == b) / 2 for a in scores[own] for b in scores[~own]]
        assert both[0] == pytest.approx(np.mean(pairs), abs=1e-14)
        precisions = [own[scores >= score].mean() for score in scores[own]]
        assert both[1] == pytest.approx(np.mean(precisions), abs=1e-14)


def test_without_logits_what_needs_them_is_empty() -> None:
    logits, labels = logits_of(CASES["plain"])
    with_all, without = (
        Judgement(evaluation(logits, labels, keep=keep), names(7)) for keep in (True, False)
    )
    for name in OVERALL:
        expected = None if name in NEED_SCORES else with_all.value(Metric(name))
        assert without.value(Metric(name)) == expected
        assert with_all.value(Metric(name)) is not None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_probabilities_by_class_are_those_of_the_rows(dtype: type, temperature: float) -> None:
    logits: Array = np.random.default_rng(0).standard_normal((40, 9)).astype(dtype)
    of = evaluation(logits, np.arange(40) % 9, temperature)
    columns = np.stack(list(of.probabilities_by_class()), axis=1)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns.max(axis=1), of.confidences)
    np.testing.assert_array_equal(columns[np.arange(40), of.labels], of.label_probabilities)


def test_no_images_and_numbers_that_are_not_finite() -> None:
    nothing = evaluation(np.empty((0, 3)), np.empty(0, np.int64))
    bad = evaluation(np.full((4, 3), np.nan), np.array([0, 1, 2, 0]))
    for one, defined in ((nothing, ()), (bad, ("top1", "macro_f1", "kappa"))):
        judgement = Judgement(one, names(3))
        for name in ("top1", *OVERALL, "auc"):
            value = judgement.value(Metric(name))
            assert (value is None) or np.isfinite(value)
            assert value is not None or name not in defined


def test_a_class_that_is_not_there_has_none() -> None:
    assert judge("plain").value(Metric("recall", "class 7")) is None


def test_names_of_classes_in_another_unicode_form() -> None:
    logits, labels = logits_of(CASES["plain"])
    classes = ["caf\u00e9", *names(6)]
    judgement = Judgement(evaluation(logits, labels), classes)
    value = judgement.value(Metric("recall", "cafe\u0301"))
    assert value is not None
    assert value == judgement.by_class["caf\u00e9"].recall


def test_json_has_null_where_a_class_has_no_images() -> None:
    judgement = judge("neither")
    document: dict[str, Any] = {
        f"{metric}:{name}": judgement.value(Metric(metric, name))
        for metric in PER_CLASS
        for name in names(6)
    }
    read = json.loads(strict_json.dumps(document))
    assert read["recall:class 3"] is None
    assert read["precision:class 1"] is None
    assert read["f1:class 3"] is None
    assert read["f1:class 1"] == 0
