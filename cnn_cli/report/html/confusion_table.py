"""The confusion matrix: a table of counts or, with many classes, an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from cnn_cli.inference.metrics import Confusion
from cnn_cli.nn.types import Array
from cnn_cli.report.html.elements import paragraph, table
from cnn_cli.report.html.template import Markup, Templates
from cnn_cli.report.text.numbers import percent
from cnn_cli.report.text.table import cut_middle

WITH_SHARES, AS_TABLE, AS_PICTURE = 12, 30, 250  # largest number of classes for each form
LEVELS = 8
CAPTION = "Images by their class (rows) and the predicted class (columns)"
MOST_CONFUSED = 20
LONGEST = 24  # characters of a class name
WIDE, CELLS, LETTER = 1160, (10, 20), 6.2  # pixels of the image, of a cell, of a letter
LINES = 10  # cells between two grid lines

_CONFUSION = Templates("confusion.html")


def confusion_parts(confusion: Confusion, names: Sequence[str]) -> list[Markup]:
    """Return the matrix, and a table of the most frequent confusions.

    Args:
        confusion: the confusion matrix.
        names: class names.
    """
    short = [cut_middle(name, LONGEST) for name in names]
    if len(names) <= AS_TABLE:
        matrix = _table(confusion.matrix, short)
    elif len(names) <= AS_PICTURE:
        matrix = _picture(confusion.matrix, short)
    else:
        matrix = paragraph(f"{len(names):,} classes are too many for a matrix.")
    return [_CONFUSION.fill("beside", matrix=matrix, list=_most_confused(confusion, names))]


def _levels(confusion: Array) -> Array:
    """Return the shade of each cell: 0 for none, 1 to `LEVELS` by the square root of its fraction
    of the true class.

    Mistakes are few compared with correct predictions; the square root makes them visible.
    """
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)
    levels = 1 + np.floor(np.sqrt(shares) * (LEVELS - 1e-6))
    return np.where(confusion > 0, levels.clip(max=LEVELS), 0).astype(np.int64)


def _table(confusion: Array, names: Sequence[str]) -> Markup:
    with_shares = len(names) <= WITH_SHARES
    diagonal = confusion.diagonal()
    rows = []
    for name, counts, levels, right in zip(
        names, confusion, _levels(confusion), diagonal, strict=True
    ):
        total = counts.sum()
        cells = [
            _cell(int(count), int(level), total if with_shares else None)
            for count, level in zip(counts, levels, strict=True)
        ]
        rows.append(_CONFUSION.fill("row", name=name, cells=cells, recall=_rate(right, total)))
    return _CONFUSION.fill(
        "matrix",
        kind="matrix" if with_shares else "matrix dense",
        caption=CAPTION,
        titles=[_CONFUSION.fill("title", name=name) for name in names],
        rows=rows,
        precision=[
            _CONFUSION.fill("precision", text=_rate(right, total))
            for right, total in zip(diagonal, confusion.sum(axis=0), strict=True)
        ],
    )


def _cell(count: int, level: int, total: int | None) -> Markup:
    """Return a cell with a count and, if the row's total is given, its fraction below."""
    if not count:
        return _CONFUSION.fill("nothing")
    if total is None:
        return _CONFUSION.fill("count", level=level, count=count)
    share = percent(count / total)
    return _CONFUSION.fill("count-and-share", level=level, count=count, share=share)


def _rate(right: int, total: int) -> str:
    return percent(right / total) if total else "–"


def _picture(confusion: Array, names: Sequence[str]) -> Markup:
    """Draw cells without numbers; all cells of one shade are one path."""
    levels = _levels(confusion)
    room = round(max(map(len, names)) * LETTER) + 8
    cell = min(max((WIDE - room) // len(names), CELLS[0]), CELLS[1])
    side = cell * len(names)
    paths: dict[int, list[str]] = defaultdict(list)
    for i, j in zip(*levels.nonzero(), strict=True):
        paths[int(levels[i, j])].append(
            f"M{room + j * cell} {room + i * cell}h{cell}v{cell}h-{cell}z"
        )
    labels = []
    for i, name in enumerate(names):
        at = room + i * cell + cell / 2 + 3.5
        labels.append(_CONFUSION.fill("label", name=name, at=at, edge=room - 5))
    starts = range(room, room + side, LINES * cell)
    return _CONFUSION.fill(
        "picture",
        caption=CAPTION,
        classes=len(names),
        total=room + side + 1,
        room=room,
        side=side,
        grid="".join(f"M{room} {at}h{side}M{at} {room}v{side}" for at in starts),
        cells=[
            _CONFUSION.fill("cells", path="".join(parts), level=level)
            for level, parts in sorted(paths.items())
        ],
        labels=labels,
    )


def _most_confused(confusion: Confusion, names: Sequence[str]) -> Markup:
    wrong = np.flatnonzero(confusion.labels != confusion.guesses)
    order = wrong[np.argsort(-confusion.counts[wrong], kind="stable")[:MOST_CONFUSED]]
    totals = confusion.support
    rows = []
    for pair in order:
        i, j, count = confusion.labels[pair], confusion.guesses[pair], confusion.counts[pair]
        rows.append([names[i], names[j], f"{count:,}", percent(count / totals[i])])
    if not rows:
        return paragraph("No image was misclassified.")
    header = ["class", "predicted as", "images", "share"]
    caption = "Most frequent mistakes, with their share of the images of the class"
    return table(caption, header, rows, "llrr")
