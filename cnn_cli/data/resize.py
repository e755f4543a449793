"""The three ways to bring an image to the network's size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from cnn_cli.data.depth import Pixels

Mode = Literal["crop", "squash", "letterbox"]
Box = tuple[float, float, float, float]  # left, top, right, bottom

BILINEAR = Image.Resampling.BILINEAR
GREY_LEVEL = 114
GREY = "#727272"
MOST_PIXELS = 64 * 2**20


def fit(
    image: Image.Image,
    size: tuple[int, int],
    mode: Mode,
    box: Box | None = None,
    *,
    fill: str | float = GREY,
) -> Image.Image:
    """`image` (L, RGB or F) at exactly `size`, by Pillow's antialiased bilinear filter.

    Args:
        image: of any size.
        size: (height, width) in pixels.
        mode: `crop` is torchvision's ``Resize`` and ``CenterCrop``; `letterbox` the one of
            Ultralytics, with their grey (114).
        box: where in `image` the picture lies; all of it where left out.
        fill: what `letterbox` fills up with.
    """
    height, width = size
    if image.size == (width, height) and box is None:
        return image
    left, top, right, bottom = box or (0, 0, *image.size)
    w, h = scaled(right - left, bottom - top, size, mode)
    if mode == "crop":
        x, y = centre(w, width), centre(h, height)
        if w * h > MOST_PIXELS:
            # A strip would grow to many times its size to be cut again: only the part that is
            # kept is made. Pillow rounds the box to float32, so that this may differ in the last
            # bit.
            across, down = (right - left) / w, (bottom - top) / h
            box = (x * across, y * down, (x + width) * across, (y + height) * down)
            moved = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
            return image.resize((width, height), BILINEAR, moved)
        return _resized(image, (w, h), box).crop((x, y, x + width, y + height))
    resized = _resized(image, (w, h), box)
    if mode == "squash":
        return resized
    canvas = Image.new(image.mode, (width, height), fill)
    canvas.paste(resized, ((width - w) // 2, (height - h) // 2))
    return canvas


def fit_bands(x: Pixels, size: tuple[int, int], mode: Mode) -> Pixels:
    """A picture (height, width, bands) at a size, band by band, as `fit` does it.

    16-bit numbers are rounded once, at the end. What `letterbox` fills up with is its grey, and
    where numbers have no full scale each band's mean.
    """
    if x.shape[:2] == size:
        return np.ascontiguousarray(x)
    bands = []
    for i in range(x.shape[2]):
        band = np.ascontiguousarray(x[..., i])
        if band.dtype == np.uint8:
            bands.append(np.asarray(fit(Image.fromarray(band), size, mode)))
            continue
        whole = band.dtype == np.uint16
        fill = 257.0 * GREY_LEVEL if whole else float(band.mean(dtype=np.float64))
        fitted = fit(Image.fromarray(band.astype(np.float32)), size, mode, fill=fill)
        y = np.asarray(fitted)
        bands.append(np.rint(y).astype(np.uint16) if whole else y)
    return np.stack(bands, axis=2)


def scaled(w: float, h: float, size: tuple[int, int], mode: Mode) -> tuple[int, int]:
    """Width and height that a picture of `w` by `h` is resized to, before what is cut or added.

    Args:
        w, h: in pixels, or in parts of them.
        size: (height, width) wanted.
        mode: of `fit`.
    """
    height, width = size
    if mode == "squash":
        return width, height
    if mode == "crop":
        return covering(w, h, width, height)
    scale = min(height / h, width / w)
    return max(1, round(w * scale)), max(1, round(h * scale))


def _resized(image: Image.Image, size: tuple[int, int], box: Box | None) -> Image.Image:
    return image if image.size == size and box is None else image.resize(size, BILINEAR, box)


def covering(w: float, h: float, width: int, height: int) -> tuple[int, int]:
    """The size that an image of `w` by `h` takes to cover `width` by `height`.

    For a square this is torchvision's ``Resize(int)``: the long side is the truncated ratio.
    """
    if width * h >= height * w:
        return width, int(width * h / w)
    return int(height * w / h), height


def centre(length: int, kept: int) -> int:
    """Where the kept middle of `length` starts, rounded as in torchvision's ``CenterCrop``."""
    return round((length - kept) / 2.0)
