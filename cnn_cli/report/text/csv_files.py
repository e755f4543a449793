"""The CSV files of `cnn eval`: predictions and confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import BinaryIO

from cnn_cli import safe_csv
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.judging import AnyJudgement
from cnn_cli.inference.metrics import Confusion
from cnn_cli.inference.several_labels import LabelsEvaluation, LabelsJudgement
from cnn_cli.nn.types import Array

PROBABILITY = "{:.6f}"  # of several in one cell
CONFUSIONS_COLUMNS = (
    *("class", "true_negatives", "false_positives", "false_negatives", "true_positives"),
)
PREDICTION_COLUMNS = ("path", "true", "label", "prob", "error")
OTHER_COLUMNS = ("other_label", "other_prob", "change")


@dataclass(frozen=True, slots=True)
class PredictedLabels:
    """The prediction for an image.

    Attributes:
        label: the predicted class; with several labels all of them joined.
        prob: its probability; with several labels a text.
        right: whether it is correct.
    """

    label: str
    prob: float | str
    right: bool


def predicted_labels(
    judgement: AnyJudgement, several: SeveralLabels | None
) -> dict[int, PredictedLabels]:
    """Return the prediction for each readable image, by position in the split.

    Args:
        judgement: the evaluation.
        several: how several labels are assigned; None if each image has one.
    """
    of, names, right = judgement.evaluation, judgement.classes, judgement.right
    indices = [int(i) for i in of.indices]
    if several is None or isinstance(of, Evaluation):
        if isinstance(of, LabelsEvaluation):
            raise ValueError("several labels of a network that gives one")
        answers: Iterable[tuple[str, float | str]] = (
            ("" if isnan(confidence) else names[guess], confidence)
            for guess, confidence in zip(of.guesses.tolist(), of.confidences.tolist(), strict=True)
        )
    else:
        answers = (_several_labels(names, several, row) for row in of.probabilities)
    return {
        i: PredictedLabels(*answer, bool(is_right))
        for i, answer, is_right in zip(indices, answers, right, strict=True)
    }


def _several_labels(
    names: Sequence[str], several: SeveralLabels, probabilities: Array
) -> tuple[str, str]:
    found = several.of(probabilities)
    told = several.separator.join(PROBABILITY.format(probabilities[i]) for i in found)
    return several.text([names[i] for i in found]), told


def predictions_csv(
    paths: Sequence[str],
    truth: Sequence[str],
    predicted: Mapping[int, PredictedLabels],
    errors: Mapping[int, str],
    other: Mapping[int, PredictedLabels] | None = None,
) -> bytes:
    """Return CSV with one row per image, in the split's order.

    With another model's predictions, `change` compares the two: `better` or `worse` if only one
    model is correct, `other` if both are wrong in different ways.

    Args:
        paths, truth: paths and true labels of the split.
        predicted: the result of `predicted_labels`.
        errors: errors of unreadable images, by position in the split.
        other: predictions of the model compared with.
    """
    rows: list[Sequence[str | float]] = [
        PREDICTION_COLUMNS if other is None else PREDICTION_COLUMNS + OTHER_COLUMNS
    ]
    for i, path in enumerate(paths):
        now = predicted.get(i)
        cells: list[str | float] = ["", "", errors.get(i, "")]
        if now is not None:
            cells = [now.label, now.prob, ""]
        if other is not None:
            before = other.get(i)
            cells += ["", ""] if before is None else [before.label, before.prob]
            cells.append(_change(now, before))
        rows.append([path, truth[i], *cells])
    return safe_csv.encoded(rows)


def _change(now: PredictedLabels | None, before: PredictedLabels | None) -> str:
    if now is None or before is None or now.label == before.label:
        return ""
    if now.right and before.right:  # several labels in another order
        return ""
    return "better" if now.right else "worse" if before.right else "other"


def confusion_csv(confusion: Confusion, names: Sequence[str], file: BinaryIO) -> None:
    """Write one row per true class and one column per predicted class; the first column is the true
    class.

    Args:
        confusion: the confusion matrix.
        names: class names.
        file: written row by row.
    """
    file.write(safe_csv.encoded([["true", *names]]))
    for name, row in zip(names, confusion.rows(), strict=True):
        file.write(safe_csv.encoded([[name, *row.tolist()]]))


def confusions_csv(judgement: LabelsJudgement) -> bytes:
    """Return CSV with one row per class: its numbers of TN, FP, FN and TP images."""
    rows: list[Sequence[str | float]] = [CONFUSIONS_COLUMNS]
    counts = judgement.confusions.tolist()
    rows += [[name, *row] for name, row in zip(judgement.classes, counts, strict=True)]
    return safe_csv.encoded(rows)
