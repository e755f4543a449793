"""Sheets of pictures with a few lines of text under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from cnn_cli.errors import printable
from cnn_cli.report.pictures.paper import (
    FAINT,
    GAP,
    INK,
    LABEL_SIZE,
    LINE,
    MARGIN,
    PAPER,
    TITLE_SIZE,
    legible,
    png,
    shortened,
)

BESIDE = 4  # between pictures of one tile


@dataclass(frozen=True, slots=True)
class Tile:
    """A place on a sheet.

    Attributes:
        pictures: beside each other; those of all tiles have the same size.
        lines: under them, each a text and an end that stays whole where the text is shortened;
            the first one is in ink, the others are faint.
    """

    pictures: tuple[Image.Image, ...]
    lines: tuple[tuple[str, str], ...]


def sheet_png(tiles: Sequence[Tile], columns: int, title: str, subtitle: str) -> bytes:
    """Rows of tiles under two lines of text; what has no room for its text is shortened.

    Args:
        tiles: at least one, all of as many pictures and lines.
        columns: tiles in a row, at most.
        title, subtitle: lines above.
    """
    columns = min(columns, len(tiles))
    size = tiles[0].pictures[0].size
    count = len(tiles[0].pictures)
    width = count * size[0] + (count - 1) * BESIDE
    step = width + GAP, size[1] + 6 + len(tiles[0].lines) * LINE + GAP
    top = MARGIN + TITLE_SIZE + LINE + 2 * GAP
    rows = -(-len(tiles) // columns)
    paper = Image.new(
        "RGB", (2 * MARGIN - GAP + columns * step[0], top + rows * step[1] + GAP), PAPER
    )
    draw = ImageDraw.Draw(paper)

    def write(x: int, y: int, text: str, size: int, ink: str, room: int, end: str = "") -> None:
        end = printable(end)
        text, font = legible(printable(text), size)
        text = shortened(text, font, room - round(font.getlength(end)))
        draw.text((x, y), text + end, ink, font)

    room = paper.width - 2 * MARGIN
    write(MARGIN, MARGIN, title, TITLE_SIZE, INK, room)
    write(MARGIN, MARGIN + TITLE_SIZE + 8, subtitle, LABEL_SIZE, FAINT, room)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        x, y = MARGIN + column * step[0], top + row * step[1]
        for i, picture in enumerate(tile.pictures):
            paper.paste(picture, (x + i * (size[0] + BESIDE), y))
        for i, (text, end) in enumerate(tile.lines):
            ink = FAINT if i else INK
            write(x, y + size[1] + 6 + i * LINE, text, LABEL_SIZE, ink, width, end)
    return png(paper)
