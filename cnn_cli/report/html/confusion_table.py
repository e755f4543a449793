"""The confusion matrix: a table of counts, or where there are many classes a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from cnn_cli.nn.types import Array
from cnn_cli.report.html.markup import (
    Markup,
    caption_of,
    element,
    figure,
    paragraph,
    scrolling,
    table,
)
from cnn_cli.report.pictures.confusion_plot import percent
from cnn_cli.report.text.table import cut_middle

WITH_SHARES, AS_TABLE, AS_PICTURE = 12, 30, 250  # most classes
LEVELS = 8
CAPTION = "Images by their class (rows) and what they were taken for (columns)"
MOST_CONFUSED = 20
LONGEST = 24  # columns of a class's name
WIDE, CELLS, LETTER = 1160, (10, 20), 6.2  # pixels of the picture, a cell, a letter
LINES = 10  # cells between two lines


def confusion_parts(confusion: Array, names: Sequence[str]) -> list[Markup]:
    """The matrix, and a table of what is confused most.

    Args:
        confusion: (classes, classes) counts.
        names: of the classes.
    """
    short = [cut_middle(name, LONGEST) for name in names]
    if len(names) <= AS_TABLE:
        matrix = _table(confusion, short)
    elif len(names) <= AS_PICTURE:
        matrix = _picture(confusion, short)
    else:
        matrix = paragraph(f"{len(names):,} classes are too many for a matrix.")
    return [element("div", matrix, _most_confused(confusion, names), class_="beside")]


def _levels(confusion: Array) -> Array:
    """How dark each cell is: 0 for none, 1 to `LEVELS` by the root of its share of the true class.

    Mistakes are few beside what is right: the root makes them visible.
    """
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)
    levels = 1 + np.floor(np.sqrt(shares) * (LEVELS - 1e-6))
    return np.where(confusion > 0, levels.clip(max=LEVELS), 0).astype(np.int64)


def _table(confusion: Array, names: Sequence[str]) -> Markup:
    levels = _levels(confusion)
    totals = confusion.sum(axis=1)
    with_shares = len(names) <= WITH_SHARES
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, count in enumerate(confusion[i]):
            inner: list[str] = [str(count) if count else ""]
            if count and with_shares:
                inner.append(element("small", percent(count / totals[i])))
            cells.append(element("td", *inner, class_=f"h{levels[i, j]}" if count else None))
        recall = percent(confusion[i, i] / totals[i]) if totals[i] else "–"
        rows.append(element("tr", element("th", name, scope="row"), *cells, element("td", recall)))
    guessed = confusion.sum(axis=0)
    precision = (
        element("td", percent(confusion[j, j] / guessed[j]) if guessed[j] else "–")
        for j in range(len(names))
    )
    whole = element(
        "table",
        caption_of(CAPTION),
        element(
            "thead",
            element(
                "tr",
                element("td"),
                *(
                    element("th", element("span", name, class_="tall"), scope="col")
                    for name in names
                ),
                element("th", "recall", scope="col"),
            ),
        ),
        element("tbody", *rows),
        element(
            "tfoot",
            element("tr", element("th", "precision", scope="row"), *precision, element("td")),
        ),
        class_="matrix" if with_shares else "matrix dense",
    )
    return scrolling("Confusion matrix", whole)


def _picture(confusion: Array, names: Sequence[str]) -> Markup:
    """Cells without numbers; all of one colour are one path."""
    levels = _levels(confusion)
    room = round(max(map(len, names)) * LETTER) + 8
    cell = min(max((WIDE - room) // len(names), CELLS[0]), CELLS[1])
    side = cell * len(names)
    paths: dict[int, list[str]] = defaultdict(list)
    for i, j in zip(*levels.nonzero(), strict=True):
        paths[int(levels[i, j])].append(
            f"M{room + j * cell} {room + i * cell}h{cell}v{cell}h-{cell}z"
        )
    cells = [
        element("path", d="".join(parts), class_=f"h{n}") for n, parts in sorted(paths.items())
    ]
    labels = []
    for i, name in enumerate(names):
        at = room + i * cell + cell / 2 + 3.5
        labels += [
            element("text", name, x=room - 5, y=at, text_anchor="end"),
            element("text", name, transform=f"translate({at} {room - 5}) rotate(-90)"),
        ]
    total = room + side + 1
    starts = range(room, room + side, LINES * cell)
    grid = "".join(f"M{room} {at}h{side}M{at} {room}v{side}" for at in starts)
    frame = element(
        "rect", x=room, y=room, width=side, height=side, fill="none", stroke="currentColor"
    )
    words = f"{len(names)} rows and columns. What is confused most is listed in the table below."
    drawing = element(
        "svg",
        element("title", "Confusion matrix", id="matrix-name"),
        element("desc", words, id="matrix-desc"),
        element("path", d=grid, class_="grid"),
        *cells,
        frame,
        *labels,
        viewBox=f"0 0 {total} {total}",
        width=total,
        height=total,
        role="img",
        aria_labelledby="matrix-name matrix-desc",
        class_="cells",
    )
    title = f"{CAPTION}: the stronger the colour, the larger the share of the row"
    return figure(title, scrolling("Confusion matrix", drawing))


def _most_confused(confusion: Array, names: Sequence[str]) -> Markup:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
    totals = confusion.sum(axis=1)
    rows = []
    for flat in order:
        i, j = divmod(int(flat), len(names))
        if wrong[i, j]:
            rows.append([names[i], names[j], f"{wrong[i, j]:,}", percent(wrong[i, j] / totals[i])])
    if not rows:
        return paragraph("No image was taken for another class.")
    header = ["class", "taken for", "images", "of the class"]
    return table("What is confused most", header, rows, "llrr")
