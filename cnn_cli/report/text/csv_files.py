"""The CSV files of `cnn eval`: the prediction of each image, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnn_cli import safe_csv
from cnn_cli.inference.evaluate import Evaluation
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
    said = {
        int(i): row for i, row in zip(evaluation.indices, evaluation.probabilities, strict=True)
    }
    for i, path in enumerate(paths):
        cells = [path, names[int(labels[i])]]
        if i in said:
            guess = int(said[i].argmax())
            rows.append([*cells, names[guess], float(said[i][guess]), ""])
        else:
            rows.append([*cells, "", "", errors.get(i, "")])
    return _encoded(rows)


def confusion_csv(confusion: Array, names: Sequence[str]) -> bytes:
    """A row per true class and a column per predicted one; the first column is the true name.

    Args:
        confusion: (classes, classes) counts.
        names: of the classes.
    """
    rows: list[Sequence[str | float]] = [["true", *names]]
    rows += [[name, *map(int, row)] for name, row in zip(names, confusion, strict=True)]
    return _encoded(rows)


def _encoded(rows: Sequence[Sequence[str | float]]) -> bytes:
    return "".join(map(safe_csv.line, rows)).encode("utf-8", "backslashreplace")
