"""The CSV files of `cnn eval`: the prediction of each image, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from cnn_cli import safe_csv
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.metrics import Confusion
from cnn_cli.nn.types import Array

PREDICTION_COLUMNS = ("path", "true", "label", "prob", "error")
OTHER_COLUMNS = ("other_label", "other_prob", "change")


def predictions_csv(
    names: Sequence[str],
    paths: Sequence[str],
    labels: Array,
    evaluation: Evaluation,
    errors: Mapping[int, str],
    other: tuple[Sequence[str], Evaluation] | None = None,
) -> bytes:
    """A row per image, in the split's order.

    With another model's predictions, `change` says what became of an image: `better` and `worse`
    where one model alone is right, `other` where both are wrong in different ways.

    Args:
        names: of the classes.
        paths, labels: of the split, (n,).
        evaluation: of the images that could be read.
        errors: why the others could not, by position in the split.
        other: names of the classes and evaluation of the model that this one is compared with.
    """
    rows: list[Sequence[str | float]] = [
        PREDICTION_COLUMNS if other is None else PREDICTION_COLUMNS + OTHER_COLUMNS
    ]
    said = _guesses(names, evaluation)
    before = {} if other is None else _guesses(*other)
    for i, path in enumerate(paths):
        true = names[int(labels[i])]
        now, confidence = said.get(i, ("", ""))
        row = [path, true, now, confidence, "" if i in said else errors.get(i, "")]
        if other is not None:
            label, probability = before.get(i, ("", ""))
            row += [label, probability, _change(true, now, label)]
        rows.append(row)
    return b"".join(map(_encoded, rows))


def _guesses(names: Sequence[str], evaluation: Evaluation) -> dict[int, tuple[str, float | str]]:
    """Label and probability of each image, by its position in the split."""
    numbers = zip(
        evaluation.indices.tolist(),
        evaluation.guesses.tolist(),
        evaluation.confidences.tolist(),
        strict=True,
    )
    return {i: (names[guess], float(confidence)) for i, guess, confidence in numbers}


def _change(true: str, now: str, before: str) -> str:
    if now == before or not now or not before:
        return ""
    return "better" if now == true else "worse" if before == true else "other"


def confusion_csv(confusion: Confusion, names: Sequence[str], file: BinaryIO) -> None:
    """A row per true class and a column per predicted one; the first column is the true name.

    Args:
        confusion: of the images.
        names: of the classes.
        file: to write it to, row by row.
    """
    file.write(_encoded(["true", *names]))
    for name, row in zip(names, confusion.rows(), strict=True):
        file.write(_encoded([name, *row.tolist()]))


def _encoded(row: Sequence[str | float]) -> bytes:
    return safe_csv.line(row).encode("utf-8", "backslashreplace")
