"""A sheet of training images with their labels, drawn by Pillow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import ImageFont

from cnn_cli.report.pictures.paper import FAINT, INK, LABEL_SIZE, LINE, enlarged, png
from cnn_cli.report.pictures.sheet import Sheet
from cnn_cli.training.preview import Preview

LEAST_SIDE = 112  # smaller images are enlarged by an integer factor, so that pixels stay squares
BAR = 5
# Okabe and Ito's colors, safe for color-blind readers, without black and yellow.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#7f7f7f")


def preview_png(preview: Preview, columns: int, title: str, subtitle: str) -> bytes:
    """Draw the sheet: rows of images, each with a bar of its classes' fractions and their names.

    Args:
        preview: at least one sample.
        columns: images per row.
        title, subtitle: lines at the top.
    """
    return png(draw_preview(preview, columns, title, subtitle).image)


def draw_preview(preview: Preview, columns: int, title: str, subtitle: str) -> Sheet:
    """Draw the sheet; arguments as in `preview_png`."""
    size = enlarged(preview.samples[0].pixels, LEAST_SIDE).size
    lines = max(len(sample.labels) for sample in preview.samples)
    place = size[0], size[1] + BAR + lines * LINE + 6
    sheet = Sheet(len(preview.samples), columns, place, title, subtitle)
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(preview.classes)}
    for number, sample in enumerate(preview.samples):
        x, y = sheet.corner(number)
        sheet.image.paste(enlarged(sample.pixels, LEAST_SIDE), (x, y))
        _draw_bar(sheet, (x, y + size[1]), size[0], sample.labels, colors)
        for i, (name, fraction) in enumerate(sample.labels):
            top = y + size[1] + BAR + 5 + i * LINE
            percent = percent_text(fraction) if len(sample.labels) > 1 else ""
            used = _write_right(sheet, x + size[0], top, percent)
            sheet.write((x, top), name, LABEL_SIZE, INK, size[0] - used)
    return sheet


def _draw_bar(
    sheet: Sheet,
    corner: tuple[int, int],
    width: int,
    labels: Sequence[tuple[str, float]],
    colors: Mapping[str, str],
) -> None:
    """Draw a bar whose parts are proportional to the classes' fractions."""
    left, y = float(corner[0]), corner[1]
    whole = max(1.0, sum(fraction for _, fraction in labels))  # with several labels more than 1
    for name, fraction in labels:
        right = left + fraction / whole * width
        if round(right) > round(left):
            sheet.draw.rectangle((round(left), y, round(right) - 1, y + BAR - 1), colors[name])
        left = right


def _write_right(sheet: Sheet, x: int, y: int, text: str) -> int:
    """Write right-aligned text ending at `x`; return its width with a gap."""
    if not text:
        return 0
    font = ImageFont.load_default(LABEL_SIZE)
    width = int(font.getlength(text)) + 1
    sheet.draw.text((x - width, y), text, FAINT, font)
    return width + 6


def percent_text(fraction: float) -> str:
    """Return an integer percentage; 0 % and 100 % only for exactly these."""
    return "<1%" if fraction < 0.01 else ">99%" if fraction > 0.99 else f"{fraction:.0%}"
