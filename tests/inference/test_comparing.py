"""Compare two models on the same images: McNemar's test and the bootstrap."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from cnn_cli.inference.comparing import compare, mcnemar
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.judging import Judgement
from cnn_cli.metric_names import Metric
from cnn_cli.nn.types import Array

NAMES = ["a", "b", "c"]


def judgement(
    guesses: Array, labels: Array, indices: Array | None = None, value: float = 3.0
) -> Judgement:
    logits = value * np.eye(3)[guesses] + np.random.default_rng(1).random((len(labels), 3))
    rows = np.arange(len(labels)) if indices is None else indices
    of = Evaluation.of(logits, labels, rows)
    kept = {name: getattr(of, name) for name in Evaluation.__slots__} | {"logits": logits}
    return Judgement(Evaluation(**kept), NAMES)


@pytest.mark.parametrize(
    ("only_new", "only_other"), [(0, 0), (0, 1), (5, 5), (3, 12), (12, 3), (400, 460)]
)
def test_mcnemar_is_the_tail_of_a_binomial(only_new: int, only_other: int) -> None:
    n = only_new + only_other
    exact = Fraction(sum(comb(n, k) for k in range(only_other, n + 1)), 2**n)
    assert mcnemar(only_new, only_other) == pytest.approx(float(exact), rel=1e-10)


def test_mcnemar_of_many_images() -> None:
    """Close to the normal distribution: 2 standard deviations."""
    assert mcnemar(500_000 - 1000, 500_000 + 1000) == pytest.approx(0.02278, rel=2e-3)


def models(worse: int) -> tuple[Judgement, Judgement]:
    """Return two models; the first is wrong on that many more images."""
    labels = np.arange(200) % 3
    old, new = labels.copy(), labels.copy()
    old[:20] = (labels[:20] + 1) % 3
    new[10 : 30 + worse] = (labels[10 : 30 + worse] + 1) % 3
    return judgement(new, labels), judgement(old, labels)


@pytest.mark.parametrize(("worse", "expected"), [(0, False), (4, False), (20, True)])
def test_a_model_is_worse_where_chance_does_not_explain_it(worse: int, expected: bool) -> None:
    new, old = models(worse)
    metrics = [Metric("macro_f1"), Metric("loss"), Metric("recall", "b"), Metric("auc")]
    found = {one.metric: one for one in compare(new, old, [Metric("top1"), *metrics], 0.05)}
    assert list(found) == ["top1", "macro_f1", "loss", "recall:b", "auc"]
    top1 = found["top1"]
    assert (top1.only_new, top1.only_other) == (10, 10 + worse)
    assert top1.p == mcnemar(10, 10 + worse)
    assert top1.interval is None
    assert {name: one.worse for name, one in found.items() if name != "auc"} == {
        name: expected for name in found if name != "auc"
    }
    for metric in metrics:
        one = found[metric.text]
        assert (one.new, one.other) == (new.value(metric), old.value(metric))
        assert one.p is None
        assert one.interval is not None
        assert one.new is not None
        assert one.other is not None
        assert one.interval[0] <= one.new - one.other <= one.interval[1]
    assert compare(new, old, metrics, 0.05) == list(found.values()), "the same draws each time"


def test_both_models_are_drawn_the_same_images() -> None:
    """Of a mean, the bootstrap gives the interval of the differences' normal distribution."""
    new, old = models(20)
    _, loss = compare(new, old, [Metric("loss")], 0.05)
    differences = new.evaluation.losses - old.evaluation.losses
    half = 1.645 * differences.std() / 200**0.5
    expected = differences.mean() - half, differences.mean() + half
    assert loss.interval == pytest.approx(expected, abs=0.1 * half)
    _, same = compare(old, old, [Metric("loss")], 0.05)
    assert (same.interval, same.worse) == ((0, 0), False)


def test_a_better_model_is_not_worse() -> None:
    new, old = models(20)
    assert not any(one.worse for one in compare(old, new, [Metric("loss")], 0.05))


def test_images_that_one_could_not_read_are_left_out() -> None:
    labels = np.arange(6) % 3
    ours = judgement(labels, labels, np.array([0, 1, 2, 3, 4, 5]))
    theirs = judgement((labels[:4] + 1) % 3, labels[:4], np.array([5, 3, 1, 9]))
    (one,) = compare(ours, theirs, [], 0.05)
    assert (one.only_new, one.only_other, one.new, one.other) == (3, 0, 1.0, 0.0)


def test_a_metric_that_is_not_defined_is_not_compared() -> None:
    labels = np.array([0, 1] * 20)
    both = judgement(labels, labels)
    _, one = compare(both, both, [Metric("recall", "c")], 0.05)
    assert (one.new, one.other, one.interval, one.worse) == (None, None, None, None)


@pytest.mark.parametrize("names", ["loss", "brier", "auc", "average_precision"])
def test_a_metric_that_is_not_finite_for_one_is_not_compared(names: str) -> None:
    labels = np.arange(30) % 3
    good, broken = judgement(labels, labels), judgement(labels, labels, value=np.nan)
    for pair in ((good, broken), (broken, good)):
        _, one = compare(*pair, [Metric(names)], 0.05)
        assert (one.new is None) == (pair[0] is broken)
        assert (one.other is None) == (pair[1] is broken)
        assert (one.interval, one.worse) == (None, None)


def test_no_image_in_common() -> None:
    labels = np.arange(6) % 3
    ours = judgement(labels, labels, np.arange(6))
    theirs = judgement(labels, labels, np.arange(6, 12))
    for one in compare(ours, theirs, [Metric("loss"), Metric("recall", "a")], 0.05):
        assert (one.new, one.other, one.p, one.interval, one.worse) == (None,) * 5
