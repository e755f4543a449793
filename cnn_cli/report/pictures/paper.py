"""Fonts, colors and helpers for sheets of images, drawn by Pillow."""

from __future__ import annotations

import io
import unicodedata
from functools import cache
from importlib.util import find_spec

from PIL import Image, ImageFont

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.depth import Pixels, viewable

MARGIN, GAP = 24, 14
TITLE_SIZE, LABEL_SIZE, LINE = 20, 14, 18
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#6e7781"

# Fonts for names that Pillow's own font cannot write: it has English letters only. The first is in
# matplotlib, the others in the system's font folders.
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")
NO_LETTER = "\U0010ffff"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def legible(text: str, size: int) -> tuple[str, Font]:
    """Return a text and a font that contains its letters.

    If no font has all letters, accents are removed, as far as that helps.

    Args:
        text: printable text.
        size: font size in pixels.
    """
    own = ImageFont.load_default(size)
    if _has_all(own, text):
        return text, own
    for name in FONTS:
        font = _find(name, size)
        if font is not None and _has_all(font, text):
            return text, font
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part)), own


@cache
def _find(name: str, size: int) -> Font | None:
    matplotlib = find_spec("matplotlib")
    places = [] if matplotlib is None else matplotlib.submodule_search_locations or []
    for path in (*(f"{place}/mpl-data/fonts/ttf/{name}" for place in places), name):
        try:
            return ImageFont.truetype(path, size)
        except OSError:
            continue
    return None


def _has_all(font: Font, text: str) -> bool:
    """Whether no letter is drawn as the box for a missing one."""
    missing = bytes(font.getmask(NO_LETTER))
    return all(char.isascii() or bytes(font.getmask(char)) != missing for char in text)


def shortened(text: str, font: Font, room: int) -> str:
    """Return `text`, with an ellipsis in its middle if it is wider than `room` pixels.

    Names that are long often differ only at their ends.
    """
    short, kept = text, len(text)
    while kept and font.getlength(short) > room:
        kept -= 1
        short = f"{text[: ceil_div(kept, 2)]}…{text[len(text) - kept // 2 :]}"
    return short


def enlarged(pixels: Pixels, least_side: int) -> Image.Image:
    """Enlarge a small image by an integer factor, so that pixels stay squares.

    Args:
        pixels: (h, w, channels), converted by `viewable`.
        least_side: smallest side of the result, in pixels.
    """
    shown = viewable(pixels)
    image = Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown).convert("RGB")
    factor = max(1, ceil_div(least_side, min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
