"""Sheets of images: a title, and a grid of images with a few lines of text under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from cnn_cli.arithmetic import ceil_div
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

BESIDE = 4  # pixels between images of one tile


class Sheet:
    """A canvas with two lines of text at the top and a grid of places.

    Args:
        places: number of places, at least one.
        columns: largest number of places per row.
        size: width and height of a place, in pixels.
        title, subtitle: the lines at the top.
    """

    def __init__(
        self, places: int, columns: int, size: tuple[int, int], title: str, subtitle: str
    ) -> None:
        self._columns = min(columns, places)
        self._step = size[0] + GAP, size[1] + GAP
        self._top = MARGIN + TITLE_SIZE + LINE + 2 * GAP
        rows = ceil_div(places, self._columns)
        width = 2 * MARGIN - GAP + self._columns * self._step[0]
        self.image = Image.new("RGB", (width, self._top + rows * self._step[1] + GAP), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        room = width - 2 * MARGIN
        self.write((MARGIN, MARGIN), title, TITLE_SIZE, INK, room)
        self.write((MARGIN, MARGIN + TITLE_SIZE + 8), subtitle, LABEL_SIZE, FAINT, room)

    def corner(self, number: int) -> tuple[int, int]:
        """Return left and top of a place, counted row by row from 0."""
        row, column = divmod(number, self._columns)
        return MARGIN + column * self._step[0], self._top + row * self._step[1]

    def write(
        self, corner: tuple[int, int], text: str, size: int, ink: str, room: int, end: str = ""
    ) -> None:
        """Write a line of text.

        Args:
            corner: left and top.
            text: shortened to fit `room`.
            size: font size in pixels.
            ink: color.
            room: width in pixels.
            end: appended to the text, and never shortened.
        """
        end = printable(end)
        text, font = legible(printable(text), size)
        text = shortened(text, font, room - round(font.getlength(end)))
        self.draw.text(corner, text + end, ink, font)


@dataclass(frozen=True, slots=True)
class Tile:
    """A place on a sheet.

    Attributes:
        pictures: images side by side; those of all tiles have the same size.
        lines: lines below them, each a text that may be shortened and an end that is not; the first
            line is black, the others gray.
    """

    pictures: tuple[Image.Image, ...]
    lines: tuple[tuple[str, str], ...]


def sheet_png(tiles: Sequence[Tile], columns: int, title: str, subtitle: str) -> bytes:
    """Draw rows of tiles under two lines of text; text that does not fit is shortened.

    Args:
        tiles: at least one, all with as many images and lines.
        columns: largest number of tiles per row.
        title, subtitle: lines at the top.
    """
    picture_width, height = tiles[0].pictures[0].size
    count = len(tiles[0].pictures)
    width = count * picture_width + (count - 1) * BESIDE
    size = width, height + 6 + len(tiles[0].lines) * LINE
    sheet = Sheet(len(tiles), columns, size, title, subtitle)
    for number, tile in enumerate(tiles):
        x, y = sheet.corner(number)
        for i, picture in enumerate(tile.pictures):
            sheet.image.paste(picture, (x + i * (picture_width + BESIDE), y))
        for i, (text, end) in enumerate(tile.lines):
            ink = FAINT if i else INK
            sheet.write((x, y + height + 6 + i * LINE), text, LABEL_SIZE, ink, width, end)
    return png(sheet.image)
