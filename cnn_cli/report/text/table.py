"""Plain text tables for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from cnn_cli.arithmetic import ceil_div
from cnn_cli.errors import printable

GAP = "  "
NO_COLUMN = ("Mn", "Me", "Cf")  # Unicode categories of accents, selectors and joiners
LEAST = 8  # columns that a shortened cell keeps


def format_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: str,
    total: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """Format columns under a header, each as wide as its widest cell; every line ends with a
    newline.

    Args:
        header: one title per column.
        rows: rows of as many cells.
        align: `l` or `r` per column.
        total: one more row below a line.
        width: columns available; the first cell of a row is shortened to fit, but not below its
            header or `LEAST`. None for no limit.
    """
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    sums = [[printable(cell) for cell in total]] if total else []
    widths = [max(map(display_width, column)) for column in zip(*lines, *sums, strict=True)]
    if width is not None:
        room = width - sum(widths[1:]) - len(GAP) * len(widths[1:])
        widths[0] = min(widths[0], max(room, display_width(lines[0][0]), LEAST))
        for row in lines:
            row[0] = cut_middle(row[0], widths[0])
    rule = ["-" * width for width in widths]
    table = [lines[0], rule, *lines[1:], *([rule, *sums] if sums else [])]
    return "".join(_line(row, widths, align) for row in table)


def format_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Format names and values in two columns; every line ends with a newline."""
    rows = [[printable(cell) for cell in pair] for pair in pairs]
    width = max((display_width(name) for name, _ in rows), default=0)
    return "".join(_line(row, [width, 0], "ll") for row in rows)


def display_width(text: str) -> int:
    """Return the columns of `text` in a terminal: two for a wide character, none for an accent."""
    return sum(
        0 if unicodedata.category(char) in NO_COLUMN else 1 + _is_wide(char) for char in text
    )


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def cut_middle(text: str, columns: int) -> str:
    """Return `text`, shortened in the middle with an ellipsis if it needs more columns.

    At least one character and the ellipsis are left.
    """
    if display_width(text) <= columns or len(text) < 2:
        return text
    start, end = text, ""
    for size in range(len(text) - 1, 0, -1):
        start, end = text[: ceil_div(size, 2)], text[len(text) - size // 2 :]
        if display_width(start + end) < columns:
            break
    return f"{start}…{end}"


def _line(row: Sequence[str], widths: Sequence[int], align: str) -> str:
    cells = []
    for cell, width, side in zip(row, widths, align, strict=True):
        space = " " * (width - display_width(cell))
        cells.append(space + cell if side == "r" else cell + space)
    return GAP.join(cells).rstrip() + "\n"
