"""A confusion matrix as a file: CSV, or a picture."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence

from cnn_cli.errors import printable
from cnn_cli.nn.types import Array


def confusion_csv(confusion: Array, names: Sequence[str]) -> bytes:
    """A row per true class and a column per predicted one; the first column is the true name.

    Args:
        confusion: (classes, classes) counts.
        names: of the classes.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["true", *names])
    for name, row in zip(names, confusion, strict=True):
        table.writerow([name, *map(int, row)])
    return text.getvalue().encode("utf-8", "backslashreplace")


def confusion_png(confusion: Array, names: Sequence[str]) -> bytes:
    """A heat map of each true class's shares, with the counts written in while there is room.

    Args:
        confusion: (classes, classes) counts.
        names: of the classes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    classes = len(names)
    side = min(4 + 0.35 * classes, 40.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # A name is text, not the formula that matplotlib would read between dollar signs.
    labels = [printable(name).replace("$", r"\$") for name in names]
    axes.set_xticks(range(classes), labels, rotation=90)
    axes.set_yticks(range(classes), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= 40:
        for (row, column), count in _cells(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, size=8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that the font lacks
        figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _cells(confusion: Array) -> list[tuple[tuple[int, int], int]]:
    """Positions and counts of what is not zero."""
    rows, columns = confusion.nonzero()
    return [((int(i), int(j)), int(confusion[i, j])) for i, j in zip(rows, columns, strict=True)]
