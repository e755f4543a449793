"""What sheets of pictures share: paper, ink and letters, drawn by Pillow."""

from __future__ import annotations

import io

from PIL import Image, ImageFont

from cnn_cli.data.decode import Pixels

MARGIN, GAP = 24, 14
TITLE_SIZE, LABEL_SIZE, LINE = 20, 14, 18
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#6e7781"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def shortened(text: str, font: Font, room: int) -> str:
    """`text`, or as much of its start as there is room for, and dots."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def enlarged(pixels: Pixels, least_side: int) -> Image.Image:
    """A picture, enlarged by a whole number where it is smaller, so that pixels stay squares.

    Args:
        pixels: (h, w, 1 or 3).
        least_side: of the result, in pixels.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    factor = max(1, -(-least_side // min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """An image as a file's content."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
