"""The CSV files of `cnn eval`: the prediction of each image, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from cnn_cli import safe_csv
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.metrics import Confusion
from cnn_cli.nn.types import Array

PREDICTION_COLUMNS = ("path", "true", "label", "prob", "error")


def predictions_csv(
    names: Sequence[str],
    paths: Sequence[str],
    labels: Array,
    evaluation: Evaluation,
    errors: Mapping[int, str],
) -> bytes:
    """A row per image, in the split's order.

    Args:
        names: of the classes.
        paths, labels: of the split, (n,).
        evaluation: of the images that could be read.
        errors: why the others could not, by position in the split.
    """
    rows: list[Sequence[str | float]] = [PREDICTION_COLUMNS]
    said = {int(i): row for row, i in enumerate(evaluation.indices)}
    for i, path in enumerate(paths):
        cells = [path, names[int(labels[i])]]
        if i in said:
            guess, confidence = evaluation.guesses[said[i]], evaluation.confidences[said[i]]
            rows.append([*cells, names[guess], float(confidence), ""])
        else:
            rows.append([*cells, "", "", errors.get(i, "")])
    return b"".join(map(_encoded, rows))


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
