"""The confusion matrix as a plot, drawn by matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_cli.errors import printable
from cnn_cli.inference.metrics import Confusion
from cnn_cli.nn.types import Array
from cnn_cli.report.pictures.matplotlib_log import hush_matplotlib
from cnn_cli.report.text.numbers import percent
from cnn_cli.report.text.table import cut_middle

# By the largest number of classes: inches per cell, and points of a number.
SIZES = ((12, 0.72, 10.0), (25, 0.58, 8.0), (50, 0.42, 7.0), (150, 0.36, 6.5))
WITH_SHARES = 25  # classes up to which a cell shows its fraction below its count
SIDE = 40.0  # inches for matrices with more classes than in `SIZES`, without numbers
MOST_CELLS = 2000  # per side; with more classes, neighbors are merged, without names
MARGINS = 1.2  # cells to the right for recall, below for precision
LONGEST = 60  # characters of a class name
DPI = 110
# One hue from white to dark, so that lightness alone carries the values, for all kinds of color
# vision.
COLOR_MAP, INK, FAINT = "Blues", "#1f2328", "#6e7781"


def confusion_png(of: Confusion, names: Sequence[str]) -> bytes:
    """Draw a heat map of each true class's fractions, with counts, recall and precision.

    With up to 25 classes, cells show counts and fractions. More than 150 classes have colors only,
    and with more than 2,000 neighbors are merged.

    Args:
        of: the confusion matrix.
        names: class names.

    Raises:
        ImportError: matplotlib is not installed.
    """
    hush_matplotlib()
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    if of.classes > MOST_CELLS:
        of, names = of.joined(MOST_CELLS), ()
    classes, confusion = of.classes, of.matrix
    room = next((size for size in SIZES if classes <= size[0]), None)
    cell, points = (SIDE / classes, min(6.0, SIDE / classes * 54)) if room is None else room[1:]
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)
    # Sizes are absolute; long names enlarge the image.
    side = (classes + MARGINS) * cell
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    # Mistakes are few compared with correct predictions; the square root makes them visible.
    axes.imshow(shares, cmap=COLOR_MAP, norm=PowerNorm(0.5, 0, 1), aspect="auto")
    axes.set_xlim(-0.5, classes + MARGINS - 0.5)
    axes.set_ylim(classes + MARGINS - 0.5, -0.5)
    if names:
        _name_axes(axes, names, cell, points)
    else:
        axes.set_axis_off()
    if room is not None:
        _write_counts(axes, confusion, shares, points)
        _write_rates(axes, confusion, points)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about characters that the font lacks
        figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.2)
    return file.getvalue()


def _name_axes(axes: Any, names: Sequence[str], cell: float, points: float) -> None:
    """Write the class names, and draw lines between the cells."""
    classes = len(names)
    # matplotlib would read text between dollar signs as a formula.
    labels = [cut_middle(printable(name), LONGEST).replace("$", r"\$") for name in names]
    short = max(map(len, labels)) * (points + 1) * 0.6 < cell * 72
    axes.set_xticks(range(classes), labels, rotation=0 if short else 90, size=points + 1)
    axes.set_yticks(range(classes), labels, size=points + 1)
    axes.tick_params(length=0, colors=INK)
    middle = classes / 2 / (classes + MARGINS)
    axes.set_xlabel("predicted", x=middle, size=points + 3, color=INK, labelpad=8)
    axes.set_ylabel("true", y=1 - middle, size=points + 3, color=INK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    edges = np.arange(classes + 1) - 0.5
    axes.hlines(edges, -0.5, classes - 0.5, color="#d0d7de", linewidth=0.5)
    axes.vlines(edges, -0.5, classes - 0.5, color="#d0d7de", linewidth=0.5)


def _write_counts(axes: Any, confusion: Array, shares: Array, points: float) -> None:
    """Write each nonzero count and, if there is room, its fraction of the true class."""
    with_shares = len(confusion) <= WITH_SHARES
    for row, column in zip(*confusion.nonzero(), strict=True):
        share = shares[row, column]
        text = str(confusion[row, column])
        if with_shares:
            text += f"\n{percent(share)}"
        color = "white" if share > 0.35 else INK
        _write(axes, column, row, text, points, color)


def _write_rates(axes: Any, confusion: Array, points: float) -> None:
    """Write recall beside each row and precision below each column, unless undefined."""
    classes = len(confusion)
    end = classes + 0.1
    for number in range(classes):
        correct = confusion[number, number]
        for total, x, y in (
            (confusion[number].sum(), end, number),
            (confusion[:, number].sum(), number, end),
        ):
            text = percent(correct / total) if total else "–"
            _write(axes, x, y, text, points, INK)
    _write(axes, end, -0.65, "recall", points, FAINT, va="bottom", rotation=90)
    _write(axes, -0.65, end, "precision", points, FAINT, ha="right")


def _write(
    axes: Any, x: float, y: float, text: str, points: float, color: str, **layout: Any
) -> None:
    axes.text(x, y, text, size=points, color=color, **({"ha": "center", "va": "center"} | layout))
