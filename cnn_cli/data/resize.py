"""The three ways to resize an image to the network's size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import ResizeMode

Box = tuple[float, float, float, float]  # left, top, right, bottom

BILINEAR = Image.Resampling.BILINEAR
GRAY_LEVEL = 114
GRAY = "#727272"
MOST_PIXELS = 64 * 2**20


def fit(
    image: Image.Image,
    size: tuple[int, int],
    mode: ResizeMode,
    box: Box | None = None,
    *,
    fill: str | float = GRAY,
) -> Image.Image:
    """Resize `image` (L, RGB or F) to exactly `size` with Pillow's antialiased bilinear filter.

    Args:
        image: an image of any size.
        size: (height, width) in pixels.
        mode: `crop` is torchvision's ``Resize`` and ``CenterCrop``; `letterbox` is that of
            Ultralytics, with their gray (114).
        box: the part of `image` to use; by default all of it.
        fill: the padding of `letterbox`.
    """
    height, width = size
    if image.size == (width, height) and box is None:
        return image
    left, top, right, bottom = box or (0, 0, *image.size)
    w, h = scaled(right - left, bottom - top, size, mode)
    if mode == "crop":
        x, y = center(w, width), center(h, height)
        if w * h > MOST_PIXELS:
            # A narrow strip would be enlarged many times and then cropped, so only the kept part is
            # resized. Pillow rounds the box to float32, so the result may differ in the last bit.
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


def fit_bands(x: Pixels, size: tuple[int, int], mode: ResizeMode) -> Pixels:
    """Resize an image (height, width, bands) band by band, as `fit` does.

    16-bit values are rounded once, at the end. `letterbox` pads with its gray, or with each band's
    mean if the values have no full scale.
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
        fill = 257.0 * GRAY_LEVEL if whole else float(band.mean(dtype=np.float64))
        fitted = fit(Image.fromarray(band.astype(np.float32)), size, mode, fill=fill)
        y = np.asarray(fitted)
        bands.append(np.rint(y).astype(np.uint16) if whole else y)
    return np.stack(bands, axis=2)


def shrink(x: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize an image (height, width, channels) to exactly `size`, as `squash` does."""
    if x.dtype == np.uint8 and x.shape[2] == 3:
        return np.asarray(fit(Image.fromarray(x), size, "squash"))
    return fit_bands(x, size, "squash")


def scaled(w: float, h: float, size: tuple[int, int], mode: ResizeMode) -> tuple[int, int]:
    """Return the width and height to which an image of `w` by `h` is resized, before cropping or
    padding.

    Args:
        w, h: in pixels, possibly fractional.
        size: (height, width) of the result.
        mode: as in `fit`.
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
    """Return the size at which an image of `w` by `h` covers `width` by `height`.

    For a square this is torchvision's ``Resize(int)``, which truncates the long side.
    """
    if width * h >= height * w:
        return width, int(width * h / w)
    return int(height * w / h), height


def center(length: int, kept: int) -> int:
    """Return the start of the kept center of `length`, rounded as in torchvision's
    ``CenterCrop``.
    """
    return round((length - kept) / 2.0)
