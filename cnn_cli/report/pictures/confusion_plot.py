"""A confusion matrix as a picture, drawn by matplotlib."""

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

# By the most classes that it is for: inches a cell, and points of a number.
SIZES = ((12, 0.72, 10.0), (25, 0.58, 8.0), (50, 0.42, 7.0), (150, 0.36, 6.5))
WITH_SHARES = 25  # classes up to which a cell has room for its share below its count
SIDE = 40.0  # inches that more classes than in `SIZES` share, without numbers
MOST_CELLS = 2000  # a side; of more classes neighbours share one, without names
LONGEST = 60  # characters of a class's name
DPI = 110
# One hue from white to dark, so that lightness alone tells what is more, whatever colours one sees.
COLOUR_MAP, INK, FAINT = "Blues", "#1f2328", "#6e7781"


def confusion_png(of: Confusion, names: Sequence[str]) -> bytes:
    """A heat map of each true class's shares, with counts, recall and precision.

    The counts of up to 25 classes have their shares below them. More than 150 classes have room
    for colours only, and of more than 2,000 some share a cell.

    Args:
        of: the images.
        names: of the classes.

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
    # The margins are cells as well. All is drawn at its size; what lies outside, as long names do,
    # makes the picture larger.
    side = (classes + 1.2) * cell
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    # Mistakes are few beside what is right: the square root makes them visible.
    axes.imshow(shares, cmap=COLOUR_MAP, norm=PowerNorm(0.5, 0, 1), aspect="auto")
    axes.set_xlim(-0.5, classes + 0.7)
    axes.set_ylim(classes + 0.7, -0.5)
    if names:
        _name_axes(axes, names, cell, points)
    else:
        axes.set_axis_off()
    if room is not None:
        _write_counts(axes, confusion, shares, points)
        _write_rates(axes, confusion, points)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that the font lacks
        figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.2)
    return file.getvalue()


def _name_axes(axes: Any, names: Sequence[str], cell: float, points: float) -> None:
    """Write the classes' names, and draw lines between the cells."""
    classes = len(names)
    # A name is text, not the formula that matplotlib would read between dollar signs.
    labels = [cut_middle(printable(name), LONGEST).replace("$", r"\$") for name in names]
    short = max(map(len, labels)) * (points + 1) * 0.6 < cell * 72
    axes.set_xticks(range(classes), labels, rotation=0 if short else 90, size=points + 1)
    axes.set_yticks(range(classes), labels, size=points + 1)
    axes.tick_params(length=0, colors=INK)
    axes.set_xlabel("predicted", size=points + 3, color=INK, labelpad=8)
    axes.set_ylabel("true", size=points + 3, color=INK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    edges = np.arange(classes + 1) - 0.5
    axes.hlines(edges, -0.5, classes - 0.5, color="#d0d7de", linewidth=0.5)
    axes.vlines(edges, -0.5, classes - 0.5, color="#d0d7de", linewidth=0.5)


def _write_counts(axes: Any, confusion: Array, shares: Array, points: float) -> None:
    """Each count that is not 0, where there is room with its share of the true class."""
    with_shares = len(confusion) <= WITH_SHARES
    for row, column in zip(*confusion.nonzero(), strict=True):
        share = shares[row, column]
        text = str(confusion[row, column])
        if with_shares:
            text += f"\n{percent(share)}"
        colour = "white" if share > 0.35 else INK
        _write(axes, column, row, text, points, colour)


def _write_rates(axes: Any, confusion: Array, points: float) -> None:
    """Recall beside each row, precision below each column; a class without images has none."""
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
    axes: Any, x: float, y: float, text: str, points: float, colour: str, **layout: Any
) -> None:
    axes.text(x, y, text, size=points, color=colour, **({"ha": "center", "va": "center"} | layout))
