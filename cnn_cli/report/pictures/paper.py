"""What sheets of pictures share: paper, ink and letters, drawn by Pillow."""

from __future__ import annotations

import io
import unicodedata
from functools import cache
from importlib.util import find_spec

from PIL import Image, ImageFont

from cnn_cli.data.depth import Pixels, viewable

MARGIN, GAP = 24, 14
TITLE_SIZE, LABEL_SIZE, LINE = 20, 14, 18
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#6e7781"

# Pillow's own font has no letters but those of English; these are looked for where a name has
# others, the first one beside matplotlib, the rest where the system keeps its fonts.
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")
NO_LETTER = "\U0010ffff"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def legible(text: str, size: int) -> tuple[str, Font]:
    """A text and a font that has its letters.

    Where no font has them all, letters lose their accents, as far as that helps.

    Args:
        text: printable.
        size: of the font, in pixels.
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
    """Whether no letter is drawn as the box that stands for a missing one."""
    missing = bytes(font.getmask(NO_LETTER))
    return all(char.isascii() or bytes(font.getmask(char)) != missing for char in text)


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
        pixels: (h, w, channels), shown as `viewable` makes them.
        least_side: of the result, in pixels.
    """
    shown = viewable(pixels)
    image = Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown).convert("RGB")
    factor = max(1, -(-least_side // min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """An image as a file's content."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
