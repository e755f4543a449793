"""The three ways to bring an image to the network's size."""

from __future__ import annotations

from typing import Literal

from PIL import Image

BILINEAR = Image.Resampling.BILINEAR
GREY = "#727272"  # 114
MOST_PIXELS = 64 * 2**20


def fit(
    image: Image.Image, size: tuple[int, int], mode: Literal["crop", "squash", "letterbox"]
) -> Image.Image:
    """`image` (L or RGB) at exactly `size`, by Pillow's antialiased bilinear filter.

    Args:
        image: of any size.
        size: (height, width) in pixels.
        mode: `crop` is torchvision's ``Resize`` and ``CenterCrop``; `letterbox` the one of
            Ultralytics, with their grey (114).
    """
    height, width = size
    if image.size == (width, height):
        return image
    if mode == "squash":
        return image.resize((width, height), BILINEAR)
    if mode == "letterbox":
        return _letterbox(image, height, width)
    return _crop(image, height, width)


def _crop(image: Image.Image, height: int, width: int) -> Image.Image:
    w, h = covering(image.width, image.height, width, height)
    left, top = centre(w, width), centre(h, height)
    if w * h > MOST_PIXELS:
        # A strip would grow to many times its size to be cut again: only the part that is kept
        # is made. Pillow rounds the box to float32, so that this may differ in the last bit.
        x, y = image.width / w, image.height / h
        box = (left * x, top * y, (left + width) * x, (top + height) * y)
        return image.resize((width, height), BILINEAR, box)
    if (w, h) != image.size:
        image = image.resize((w, h), BILINEAR)
    return image.crop((left, top, left + width, top + height))


def covering(w: int, h: int, width: int, height: int) -> tuple[int, int]:
    """The size that an image of `w` by `h` takes to cover `width` by `height`.

    For a square this is torchvision's ``Resize(int)``: the long side is the truncated ratio.
    """
    if width * h >= height * w:
        return width, int(width * h / w)
    return int(height * w / h), height


def centre(length: int, kept: int) -> int:
    """Where the kept middle of `length` starts, rounded as in torchvision's ``CenterCrop``."""
    return round((length - kept) / 2.0)


def _letterbox(image: Image.Image, height: int, width: int) -> Image.Image:
    scale = min(height / image.height, width / image.width)
    w, h = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new(image.mode, (width, height), GREY)
    small = image if image.size == (w, h) else image.resize((w, h), BILINEAR)
    canvas.paste(small, ((width - w) // 2, (height - h) // 2))
    return canvas
