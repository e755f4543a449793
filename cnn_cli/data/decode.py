"""From an image file to the bytes a network is given: one way for training and for predicting.

EXIF orientation is applied; 16-bit scaled to 8; alpha laid over white; then Pillow's L or RGB;
resized by Pillow's antialiased bilinear filter. Of an animation the first frame is taken. A JPEG
much larger than needed is decoded at a half, a quarter or an eighth of its size first.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError, _imaging

from cnn_cli.data import resize
from cnn_cli.data.draft import TRANSPOSED, draft
from cnn_cli.errors import DataError, reason

Pixels = NDArray[np.uint8]
Source = str | Path | bytes

ORIENTATION = 0x0112
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow talks about odd metadata on stderr; whether an image is good is for `load_image` to say.
# The filter stands for the whole process because catch_warnings is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
logging.getLogger("PIL").addHandler(logging.NullHandler())

MOST_BYTES = 2**30  # of a stream: Pillow's limit of pixels takes 0.7 GB as 16-bit colour with alpha

_plugins = threading.Lock()


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is made of every image.

    Attributes:
        height, width: in pixels.
        channels: 1 (grey) or 3 (red, green, blue).
        resize_mode: `crop` scales the image to cover the box and keeps its centre, `squash`
            ignores the ratio, `letterbox` scales it to fit and fills up with grey.
    """

    height: int
    width: int
    channels: int
    resize_mode: Literal["crop", "squash", "letterbox"] = "crop"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


class ImageError(DataError):
    """An image that cannot be used; `place` is its path."""

    @property
    def message(self) -> str:
        """What is wrong, without the path."""
        return self.rule if self.got is None else f"{self.rule}: {self.got}"


def load_image(source: Source, pre: Preprocess, name: str | None = None) -> Pixels:
    """The pixels of an image as (height, width, channels); the array may be read-only.

    Safe to call from several threads.

    Args:
        source: a path, or the bytes of an image file.
        pre: size, channels and resize mode.
        name: what an error calls the image; its path where left out.

    Raises:
        ImageError: the file cannot be read, is no image, is damaged, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    place = name if name is not None else "image" if isinstance(source, bytes) else str(source)
    try:
        with _binary(source, place) as file, _open(file) as image:
            pixels = image.width * image.height
            if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
                raise _too_large(place, pixels)
            if image.format == "EPS":  # Pillow would run Ghostscript on it
                raise ImageError(place, "is PostScript, which is a program and not an image")
            if image.format == "TIFF":
                _hush_libtiff()
            fitted = _fitted(image, pre)
        return np.frombuffer(fitted.tobytes(), np.uint8).reshape(pre.shape)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(place, "not an image Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))
        raise _too_large(place, int(found[0]) if found else None) from None
    except MemoryError:
        raise ImageError(place, "does not fit in memory") from None
    except Exception as error:  # plugins raise nearly anything on broken data
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageError(place, "cannot be read", reason(error)) from None
        raise ImageError(place, "truncated or damaged") from None


def fit_image(image: Image.Image, pre: Preprocess) -> Pixels:
    """The same of an image that Pillow holds already; see `load_image`."""
    return np.frombuffer(_fitted(image, pre).tobytes(), np.uint8).reshape(pre.shape)


def upright_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image as it is seen, of which little is read; None if it is none."""
    try:
        with _binary(path, path) as file, _open(file) as image:
            turns = _orientation(image) in TRANSPOSED
            return image.size[::-1] if turns else image.size
    except Exception:  # plugins raise nearly anything on broken data
        return None


def _fitted(image: Image.Image, pre: Preprocess) -> Image.Image:
    size = pre.height, pre.width
    box = None
    if isinstance(image, JpegImagePlugin.JpegImageFile):  # MPO, of many cameras, is one
        box = draft(image, size, pre.resize_mode, _orientation(image))
    image.load()
    turned = _turn(_plain(image, "L" if pre.channels == 1 else "RGB"), _orientation(image))
    return resize.fit(turned, size, pre.resize_mode, box)


def _binary(source: Source, place: str) -> IO[bytes]:
    """A seekable binary file."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        file = open(source, "rb")  # noqa: SIM115 - the caller closes it
    except ValueError as error:  # a NUL byte in the name
        raise ImageError(place, "cannot be read", error) from None
    if file.seekable():
        return file
    with file:
        return io.BytesIO(read_stream(file, place))


def read_stream(stream: BinaryIO, place: str) -> bytes:
    """All that a pipe gives.

    Raises:
        ImageError: that has no end, or none near enough.
    """
    content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ImageError(place, f"must have at most {MOST_BYTES:,} bytes")
    return content


def _open(file: IO[bytes]) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        # While another thread has Pillow import its rarer plugins, this one may have missed them.
        with _plugins:
            Image.init()
        file.seek(0)
        return Image.open(file)


@cache
def _hush_libtiff() -> None:
    """Keep libtiff, which Pillow links to, from writing about damaged files to stderr."""
    import ctypes  # for TIFF only

    with suppress(OSError, AttributeError):  # a libtiff that is built in keeps its handler
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _too_large(place: str, pixels: int | None) -> ImageError:
    limit = f"has more pixels than Pillow's limit of {Image.MAX_IMAGE_PIXELS}"
    return ImageError(place, limit, None if pixels is None else f"{pixels} pixels")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; damaged metadata does not spoil an image."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    method = ORIENTATIONS.get(orientation)
    return image if method is None else image.transpose(method)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Any image as `mode`, which is L or RGB: 8 bits, without alpha."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image).convert(mode)
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert(mode)
    if image.mode == "LAB":
        image = _from_lab(image)
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (I, I;16) or floats (F) as L.

    Whole numbers are 16-bit ones, of which the upper 8 bits are kept, as Pillow does for 16-bit
    colour. Floats are taken as 0..1, 0..255 or 0..65535, the smallest that holds them all.
    """
    x = np.asarray(image)
    if image.mode == "F":
        x = np.clip(np.nan_to_num(x, nan=0.0), 0, 65535)
        top = x.max(initial=0.0)
        scale = 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / 65535.0
        y = np.rint(x * scale).astype(np.uint8)
    else:
        y = (np.clip(x, 0, 65535) >> 8).astype(np.uint8)
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            y[x == transparent] = 255
    return Image.fromarray(y)


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # rare, and slow to import

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
