"""A Pillow image upright, and as one of Pillow's 8-bit modes, L or RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.depth import Pixels

ORIENTATION = 0x0112
WIDTH, HEIGHT, PHOTOMETRIC = 256, 257, 262  # tags of TIFF
WHITE_IS_0 = 0
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TRANSPOSED = (5, 6, 7, 8)
"""The orientations that swap width and height."""

TURNS = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""By orientation: whether rows and columns are reversed, and then transposed."""


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; damaged metadata is ignored."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height, as displayed, of an opened image; a PNG is decoded for it.

    Pillow gives the size of a TIFF as displayed, and turns its pixels when it decodes them.
    """
    width, height = image.size
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]  # of TIFF
        width, height = tags.get(WIDTH, width), tags.get(HEIGHT, height)
    return (height, width) if orientation_of(image) in TRANSPOSED else (width, height)


def is_cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow keeps only the upper 8 of 16 bits of an opened image."""
    return not image.mode.startswith("I") and ";16" in str(getattr(image, "tile", ""))


def has_lost_key(image: Image.Image) -> bool:
    """Whether an opened image has a transparent color of more bits than Pillow reads."""
    return is_cut_to_8_bits(image) and isinstance(image.info.get("transparency"), tuple)


def black_is_0(x: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    """Return the values of a decoded gray image of 16 bits with 0 as black; Pillow does so only for
    8 bits.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == WHITE_IS_0:
        return np.iinfo(x.dtype).max - x
    return x


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image upright, given its EXIF orientation."""
    method = ORIENTATIONS.get(orientation)
    return image if method is None else image.transpose(method)


def turn_array(x: Pixels, orientation: int) -> Pixels:
    """Return the pixels (height, width, bands) of an image upright, given its EXIF orientation."""
    upside_down, mirrored, transposed = TURNS.get(orientation, (False, False, False))
    x = x[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    return x.swapaxes(0, 1) if transposed else x


def as_plain(image: Image.Image, mode: str) -> Image.Image:
    """Convert any image of whole numbers to `mode`, L or RGB: 8 bits, without alpha."""
    if image.mode.startswith("I"):
        return _eight_bits(image).convert(mode)
    if image.has_transparency_data:
        color = image.convert("RGBA")
        white = Image.new("RGBA", color.size, "white")
        return Image.alpha_composite(white, color).convert(mode)
    if image.mode == "LAB":
        image = _from_lab(image)
    return image if image.mode == mode else image.convert(mode)


def without_palette(image: Image.Image) -> Image.Image:
    """Convert any image of up to 8 bits to L, RGB or, with transparency, RGBA."""
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA") if image.has_transparency_data else as_plain(image, "RGB")


def as_8_bits(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the upper 8 of 16 bits."""
    return (x >> 8).astype(np.uint8)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert gray of 16 bits (I, I;16) to L: keep the upper 8 bits, as Pillow does for 16-bit
    color.
    """
    x = black_is_0(np.asarray(image), image)
    y = as_8_bits(np.clip(x, 0, 65535))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        y[x == transparent] = 255
    return Image.fromarray(y)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # rarely needed and slow to import

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
