"""ROC and precision-recall curves of the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnn_cli.data.targets import is_of
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.metrics import threshold_curve
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.nn.types import Array
from cnn_cli.report.html.charts import COLORS, Line, curve_chart
from cnn_cli.report.html.elements import figure, paragraph, side_by_side, table
from cnn_cli.report.html.template import Markup
from cnn_cli.report.text.numbers import number

LEAST_STEP = 0.005  # smallest visible distance of points, on either axis
FALSE_RATES = (0.01, 0.05, 0.1, 0.2)
RECALLS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Curve:
    """One class against the others, from the highest threshold to the lowest.

    Attributes:
        name: class name.
        auc, average_precision: see `ranking_scores`.
        recall: (thresholds,) fraction of its images at or above the threshold.
        false_rate: (thresholds,) the same fraction of all other images.
        precision: (thresholds,) fraction of the images at or above the threshold that belong to the
            class.
    """

    name: str
    auc: float
    average_precision: float
    recall: Array
    false_rate: Array
    precision: Array

    @classmethod
    def of(cls, name: str, scores: Array, own: Array, ranking: tuple[float, float]) -> Curve:
        found, taken = threshold_curve(scores, own)
        positives = int(own.sum())
        return cls(
            name,
            *ranking,
            recall=found / positives,
            false_rate=(taken - found) / (len(own) - positives),
            precision=found / taken,
        )


def threshold_parts(judgement: Judgement | LabelsJudgement) -> list[Markup]:
    """Return both charts, for as many classes as there are colors: those with the lowest area."""
    known = [i for i, ranking in enumerate(judgement.rankings) if ranking is not None]
    if not known:
        return [
            paragraph(
                "Not measured: the curves need the scores of all images, and at least two classes."
            )
        ]
    areas = {i: ranking[0] for i, ranking in enumerate(judgement.rankings) if ranking is not None}
    shown = sorted(known, key=lambda i: (areas[i], i))[:COLORS]
    labels, curves = judgement.evaluation.labels, {}
    for i, column in enumerate(judgement.evaluation.probabilities_by_class()):
        ranking = judgement.rankings[i]
        if i in shown and ranking is not None:
            curves[i] = Curve.of(judgement.classes[i], column, is_of(labels, i), ranking)
    drawn = [curves[i] for i in sorted(shown)]
    parts = [side_by_side([_roc(drawn), _precision_recall(drawn)])]
    if len(shown) < len(known):
        words = f"The {len(shown)} of {len(known):,} classes with the smallest area under the ROC"
        parts.insert(0, paragraph(f"{words} curve."))
    return parts


def _roc(curves: Sequence[Curve]) -> Markup:
    lines = [
        Line(f"{of.name}, AUC {of.auc:.4f}", _points(of.false_rate, of.recall, 0.0), i)
        for i, of in enumerate(curves)
    ]
    title = "ROC: recall over the false positive rate"
    chart = curve_chart(
        "chart-roc", title, _words(lines), lines, "false positive rate", diagonal=True
    )

    def at(of: Curve, limit: float) -> float | None:
        return _best(of.recall[of.false_rate <= limit], 0.0)

    caption = "Recall at a false positive rate of at most"
    return figure(title, chart, _numbers(caption, curves, FALSE_RATES, at))


def _precision_recall(curves: Sequence[Curve]) -> Markup:
    lines = [
        Line(f"{of.name}, AP {of.average_precision:.4f}", _points(of.recall, of.precision, 1.0), i)
        for i, of in enumerate(curves)
    ]
    title = "Precision over recall"
    chart = curve_chart("chart-precision-recall", title, _words(lines), lines, "recall")

    def at(of: Curve, limit: float) -> float | None:
        return _best(of.precision[of.recall >= limit], None)

    caption = "Precision at a recall of at least"
    return figure(title, chart, _numbers(caption, curves, RECALLS, at))


def _points(x: Array, y: Array, start: float) -> list[tuple[float, float | None]]:
    """Return the distinguishable points of a curve, starting at (0, `start`)."""
    points: list[tuple[float, float | None]] = [(0.0, start)]
    last = (0.0, start)
    for here in zip(x.tolist(), y.tolist(), strict=True):
        if max(abs(here[0] - last[0]), abs(here[1] - last[1])) >= LEAST_STEP:
            points.append(here)
            last = here
    end = float(x[-1]), float(y[-1])
    return points if points[-1] == end else [*points, end]


def _numbers(
    caption: str,
    curves: Sequence[Curve],
    limits: Sequence[float],
    at: Callable[[Curve, float], float | None],
) -> Markup:
    rows = [[of.name, *(number(at(of, limit)) for limit in limits)] for of in curves]
    header = ["class", *(f"{limit:g}" for limit in limits)]
    return table(caption, header, rows, "l" + "r" * len(limits))


def _best(values: Array, otherwise: float | None) -> float | None:
    return float(np.max(values)) if len(values) else otherwise


def _words(lines: Sequence[Line]) -> str:
    """Describe the curves in words."""
    return "; ".join(line.name for line in lines) + "."
