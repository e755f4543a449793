"""Test whether a model is worse than another one on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np

from cnn_cli.inference.judging import AnyJudgement, Judgement
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.metric_names import SUBSET_ACCURACY, TOP1, Metric, default_monitor
from cnn_cli.nn.types import Array
from cnn_cli.rng import Purpose, generator

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two models on the same images.

    Attributes:
        metric: its name.
        new, other: its values; None if undefined.
        only_new, only_other: number of images that only this model gets right; for `top1` or, with
            several labels, `subset_accuracy`.
        p: p-value of McNemar's exact test, one-sided, for the same metrics.
        interval: bootstrap interval of new - other with `alpha` on either side; for other metrics.
        worse: whether the new model is significantly worse; None if that is undefined.
    """

    metric: str
    new: float | None
    other: float | None
    only_new: int | None = None
    only_other: int | None = None
    p: float | None = None
    interval: tuple[float, float] | None = None
    worse: bool | None = None


def compare(
    new: AnyJudgement, other: AnyJudgement, metrics: Sequence[Metric], alpha: float
) -> list[Comparison]:
    """Compare `top1` (with several labels `average_precision`) and further metrics.

    Args:
        new, other: judgements on the same split; images that either could not read are left out.
        metrics: further metrics.
        alpha: significance level: the probability of calling an equally good model worse.
    """
    _, ours, theirs = np.intersect1d(
        new.evaluation.indices, other.evaluation.indices, return_indices=True
    )
    new, other = _at(new, ours), _at(other, theirs)
    several = isinstance(new, LabelsJudgement)
    first = default_monitor("multiple" if several else "single")
    counted = SUBSET_ACCURACY if several else TOP1
    return [
        _count(new, other, metric, alpha)
        if metric == counted
        else _resample(new, other, metric, alpha)
        for metric in dict.fromkeys([first, *metrics])
    ]


def _at(of: AnyJudgement, rows: Array, with_scores: bool = True) -> AnyJudgement:
    """Restrict a judgement to some images, possibly repeated."""
    if isinstance(of, LabelsJudgement):
        return LabelsJudgement(of.evaluation.at(rows), of.classes, of.thresholds)
    return Judgement(of.evaluation.at(rows, with_scores), of.classes)


def mcnemar(only_new: int, only_other: int) -> float:
    """Return the one-sided p-value of McNemar's exact test (1947).

    If both models are equally good, each image that only one gets right is the other's with
    probability 1/2; the p-value is the probability of `only_other` or more.

    Args:
        only_new, only_other: number of images that only this model gets right.
    """
    n = only_new + only_other
    terms = (
        exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2))
        for k in range(only_other, n + 1)
    )
    return min(sum(terms), 1.0)


def _count(new: AnyJudgement, other: AnyJudgement, metric: Metric, alpha: float) -> Comparison:
    """Compare a metric that is a fraction of correct images."""
    ours, theirs = new.right, other.right
    only_new, only_other = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    values = new.value(metric), other.value(metric)
    if None in values:
        return Comparison(metric.text, *values)
    p = mcnemar(only_new, only_other)
    return Comparison(metric.text, *values, only_new, only_other, p, worse=p < alpha)


def _resample(new: AnyJudgement, other: AnyJudgement, metric: Metric, alpha: float) -> Comparison:
    """Paired bootstrap (Efron and Tibshirani 1993): draw images with replacement, the same for both
    models, and take quantiles of the difference.
    """
    both = new.value(metric), other.value(metric)
    if None in both:
        return Comparison(metric.text, *both)
    n = len(new.evaluation.labels)
    rng = generator(0, Purpose.RESAMPLE)
    differences = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, n, n)
        values = [_at(of, drawn, metric.kind.needs_scores).value(metric) for of in (new, other)]
        if values[0] is not None and values[1] is not None:
            differences.append(values[0] - values[1])
    if not differences:
        return Comparison(metric.text, *both)
    low, high = np.quantile(differences, [alpha, 1 - alpha]).tolist()
    worse = high < 0 if metric.kind.rises else low > 0
    return Comparison(metric.text, *both, interval=(low, high), worse=worse)
