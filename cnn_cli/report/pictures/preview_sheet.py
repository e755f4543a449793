"""A sheet of training images with their labels, drawn by Pillow."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

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
    enlarged,
    legible,
    png,
    shortened,
)
from cnn_cli.training.preview import Preview, Sample

LEAST_SIDE = 112  # smaller images are enlarged by a whole number, so that pixels stay squares
BAR = 5
# Okabe and Ito's colours, which the colour-blind tell apart as well; black and yellow left out.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#7f7f7f")


def preview_png(preview: Preview, columns: int, title: str, subtitle: str) -> bytes:
    """The sheet: rows of images; under each a bar of its classes' shares, and their names.

    Args:
        preview: at least one sample.
        columns: images in a row.
        title, subtitle: lines above.
    """
    sheet = _Sheet(preview, min(columns, len(preview.samples)))
    sheet.write_titles(title, subtitle)
    for number, sample in enumerate(preview.samples):
        sheet.place(number, sample)
    return png(sheet.image)


class _Sheet:
    """Paper with a grid of places on it."""

    def __init__(self, preview: Preview, columns: int) -> None:
        self.size = enlarged(preview.samples[0].pixels, LEAST_SIDE).size
        self.columns = columns
        self.colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(preview.classes)}
        self.lines = max(len(sample.labels) for sample in preview.samples)
        rows = -(-len(preview.samples) // columns)
        self.step = self.size[0] + GAP, self.size[1] + BAR + self.lines * LINE + GAP + 6
        self.top = MARGIN + TITLE_SIZE + LINE + 2 * GAP
        self.image = Image.new(
            "RGB",
            (2 * MARGIN - GAP + columns * self.step[0], self.top + rows * self.step[1] + GAP),
            PAPER,
        )
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(LABEL_SIZE)

    def write_titles(self, title: str, subtitle: str) -> None:
        room = self.image.width - 2 * MARGIN
        self._text((MARGIN, MARGIN), title, TITLE_SIZE, INK, room)
        self._text((MARGIN, MARGIN + TITLE_SIZE + 8), subtitle, LABEL_SIZE, FAINT, room)

    def place(self, number: int, sample: Sample) -> None:
        row, column = divmod(number, self.columns)
        x, y = MARGIN + column * self.step[0], self.top + row * self.step[1]
        self.image.paste(enlarged(sample.pixels, LEAST_SIDE), (x, y))
        self._bar(x, y + self.size[1], sample.labels)
        for i, (name, share) in enumerate(sample.labels):
            top = y + self.size[1] + BAR + 5 + i * LINE
            percent = percent_text(share) if len(sample.labels) > 1 else ""
            used = self._right(x + self.size[0], top, percent)
            self._text((x, top), name, LABEL_SIZE, INK, self.size[0] - used)

    def _bar(self, x: int, y: int, labels: Sequence[tuple[str, float]]) -> None:
        left = float(x)
        for name, share in labels:
            right = left + share * self.size[0]
            if round(right) > round(left):
                box = (round(left), y, round(right) - 1, y + BAR - 1)
                self.draw.rectangle(box, self.colours[name])
            left = right

    def _right(self, x: int, y: int, text: str) -> int:
        """Write up to `x`; the pixels that it takes, with a gap before it."""
        if not text:
            return 0
        width = int(self.font.getlength(text)) + 1
        self.draw.text((x - width, y), text, FAINT, self.font)
        return width + 6

    def _text(self, place: tuple[int, int], text: str, size: int, ink: str, room: int) -> None:
        text, font = legible(printable(text), size)
        self.draw.text(place, shortened(text, font, room), ink, font)


def percent_text(share: float) -> str:
    """Whole percents; what is not all or nothing does not look like it."""
    return "<1%" if share < 0.01 else ">99%" if share > 0.99 else f"{share:.0%}"
