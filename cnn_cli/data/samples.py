"""Images with more than 8 bits or with bands other than gray and color, read without loss.

Pillow reads the formats that it supports in full, `tiff` reads other TIFF files, `npy` NumPy
arrays. Values are converted to `data.depth`, bands to `data.channels`, and each band is resized by
the filter that `decode` uses for 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cnn_cli.data import npy, resize, tiff
from cnn_cli.data.depth import FULL_SCALE, Depth, Pixels
from cnn_cli.data.formats import OnFrames, has_frames, is_array, is_tiff, open_image
from cnn_cli.data.image_error import ImageError, check_pixels
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.upright import (
    TRANSPOSED,
    as_8_bits,
    black_is_0,
    displayed_size,
    has_lost_key,
    is_cut_to_8_bits,
    orientation_of,
    turn_array,
    without_palette,
)

LUMA = (19595, 38470, 7471)  # weights over 65536: ITU-R 601-2, as Pillow rounds them
WHOLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The original values of an image.

    Attributes:
        values: (height, width, bands).
        has_alpha: the last band is opacity.
        orientation: the EXIF orientation to undo, 1 to 8.
    """

    values: NDArray[Any]
    has_alpha: bool = False
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of an image, known without decoding it.

    Attributes:
        size: width and height as displayed.
        bands: 1 for gray and 3 for color, with or without alpha; else the number of bands.
        depth: the depth that keeps its values.
    """

    size: tuple[int, int]
    bands: int
    depth: Depth


def read_samples(
    file: IO[bytes], pre: Preprocess, place: str, on_frames: OnFrames | None = None
) -> Pixels:
    """Read the original values of an image and convert them as `pre` says.

    Args:
        file: seekable, at its start.
        pre: size, channels, depth and resize mode.
        place: the name of the image in errors.
        on_frames: as in `decode.read_image`.

    Raises:
        ImageError: bands or depth do not fit, or a value is not finite.
        Exception: nearly any, for damaged files.
    """
    return fit_samples(_read(file, pre, place, on_frames), pre, place)


def facts_of(file: IO[bytes], place: str) -> Facts:
    """Return the properties of an image in a seekable file.

    Raises:
        ImageError, UnidentifiedImageError: it is not an image, or its reader is not installed.
        Exception: nearly any, for damaged files.
    """
    if is_array(file):
        header = npy.read_header(file, place)
        height, width, bands = header.shape
        return Facts((width, height), bands, depth_of(header.dtype))
    try:
        with open_image(file) as image:
            if is_in_full(image):
                bands, depth = _bands_and_depth(image)
                return Facts(displayed_size(image), bands, depth)
    except UnidentifiedImageError:
        if not is_tiff(file):
            raise
    height, width, bands, dtype, has_alpha, orientation = tiff.facts(file, place)
    size = (height, width) if orientation in TRANSPOSED else (width, height)
    return Facts(size, bands - has_alpha if bands in (2, 4) else bands, depth_of(dtype))


def depth_of(dtype: np.dtype[Any]) -> Depth:
    """Return the depth that keeps the values of a dtype."""
    if dtype.kind == "b" or dtype == np.uint8:
        return 8
    return 16 if dtype.kind == "u" and dtype.itemsize == 2 else "float"


def _bands_and_depth(image: Image.Image) -> tuple[int, Depth]:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        return 1, "float"
    if image.mode.startswith("I"):
        return 1, 16
    bands = 1 if image.mode in ("1", "L", "LA") else 3
    return bands, 16 if is_cut_to_8_bits(image) else 8


def is_in_full(image: Image.Image) -> bool:
    """Whether Pillow gives all bands and bits of an opened image; for PNG, see `_lower_bits`."""
    if image.format != "TIFF":
        return True
    tags: Any = image.tag_v2  # type: ignore[attr-defined]  # of TIFF
    if tags.get(tiff.SAMPLES, 1) != len(image.getbands()) or is_cut_to_8_bits(image):
        return False
    signed: bool = tags.get(tiff.SAMPLE_FORMAT, (1,))[0] == tiff.SIGNED
    if image.mode.startswith("I;16"):
        return bool(tags.get(tiff.PHOTOMETRIC) == tiff.MINIMUM_IS_BLACK)
    return image.mode == "F" or signed == (image.mode == "I")


def _read(file: IO[bytes], pre: Preprocess, place: str, on_frames: OnFrames | None) -> Samples:
    if is_array(file):
        header = npy.read_header(file, place)
        height, width, bands = header.shape
        check_pixels(width, height, place)
        check_bands(bands, pre, place)
        return Samples(npy.read_values(file, header, place))
    try:
        with open_image(file) as image:
            check_pixels(image.width, image.height, place)
            if is_in_full(image):
                if on_frames is not None and has_frames(image) and not _has_pages(image, pre):
                    on_frames(place)
                return from_image(image, pre, place, file)
    except UnidentifiedImageError:
        if not is_tiff(file):
            raise
    height, width, bands, dtype, has_alpha, orientation = tiff.facts(file, place, pre.channels)
    check_pixels(width, height, place)
    check_bands(bands, pre, place, has_alpha)
    check_depth(dtype, pre, place)
    return Samples(tiff.read_values(file, place, pre.channels), has_alpha, orientation)


def from_image(
    image: Image.Image, pre: Preprocess, place: str, file: IO[bytes] | None = None
) -> Samples:
    """Return the values of an opened Pillow image.

    Args:
        file: the file from which it was opened; None if only Pillow's pixels exist.

    Raises:
        ImageError: Pillow cannot give its 16 bits, or its frames differ in shape.
    """
    cut = file is not None and is_cut_to_8_bits(image)
    cut = cut and (pre.depth != 8 or has_lost_key(image))
    if cut and image.format != "PNG":
        rule = "has 16 bits per band, and Pillow reads only 8: save it as TIFF, PNG or .npy"
        raise ImageError(place, rule, image.format)
    image.load()
    orientation = orientation_of(image)
    if _has_pages(image, pre):
        return Samples(_stacked(image, pre.channels, place), orientation=orientation)
    lower = _lower_bits(file, place) if cut and file is not None else None
    transparent = image.info.get("transparency")
    if image.mode == "F" or image.mode.startswith("I"):
        whole = black_is_0(np.asarray(image), image)
        if image.mode != "F" and (image.mode != "I" or image.format == "PPM"):
            whole = whole.astype(np.uint16)
        if isinstance(transparent, int):
            whole = np.where(whole == transparent, FULL_SCALE[16], whole).astype(whole.dtype)
        return Samples(whole[..., None], orientation=orientation)
    plain = image if image.mode in WHOLE_MODES else without_palette(image)
    if lower is None and plain.mode in ("L", "RGB") and plain.has_transparency_data:
        plain = plain.convert("RGBA")
    values = np.asarray(plain)
    values = values[..., None] if values.ndim == 2 else values
    if lower is not None:
        values = values.astype(np.uint16) << 8 | lower
        if isinstance(transparent, tuple) and plain.mode == "RGB":
            values[(values == transparent).all(axis=2)] = FULL_SCALE[16]
    return Samples(values, plain.mode in ("LA", "RGBA"), orientation)


def _has_pages(image: Image.Image, pre: Preprocess) -> bool:
    """Whether the single-band pages of a TIFF are the wanted bands."""
    if image.format != "TIFF" or pre.channels == 1 or len(image.getbands()) > 1:
        return False
    return int(getattr(image, "n_frames", 1)) == pre.channels


def _stacked(image: Image.Image, pages: int, place: str) -> NDArray[Any]:
    """Stack the pages of a TIFF as bands."""
    bands: list[NDArray[Any]] = []
    for page in range(pages):
        image.seek(page)
        band = black_is_0(np.asarray(image), image)
        if bands and (band.shape != bands[0].shape or band.dtype != bands[0].dtype):
            raise ImageError(place, "must have pages of one size and depth to be its bands")
        bands.append(band)
    return np.stack(bands, axis=2)


def _lower_bits(file: IO[bytes], place: str) -> NDArray[np.uint8]:
    """Return the lower 8 bits of a PNG of 16-bit color; Pillow keeps the upper ones.

    The file is decoded again with the two bytes of each value swapped.
    """
    file.seek(0)
    again: Any
    with open_image(file) as again:
        again.tile = [
            part._replace(args=str(part.args).replace("16B", "16L")) for part in again.tile
        ]
        try:
            return np.asarray(again)
        except ValueError as error:
            rule = "has 16 bits per band, and Pillow reads only 8: save it as TIFF or .npy"
            raise ImageError(place, rule, "gray with transparency") from error


def check_bands(bands: int, pre: Preprocess, place: str, has_alpha: bool = False) -> None:
    """Check the number of bands against `data.channels`.

    Raises:
        ImageError: it does not fit.
    """
    if bands == pre.channels:
        return
    got = f"{bands} band{'' if bands == 1 else 's'}"
    if pre.channels not in (1, 3):
        raise ImageError(place, f"must have {pre.channels} bands, as data.channels says", got)
    if bands - has_alpha not in (1, 3):
        rule = f"must be grayscale or color for data.channels {pre.channels}"
        raise ImageError(place, rule, got)


def check_depth(dtype: np.dtype[Any], pre: Preprocess, place: str) -> None:
    """Check that `data.depth` keeps values of this dtype.

    Raises:
        ImageError: it does not.
    """
    if pre.depth != "float" and depth_of(dtype) == "float":
        rule = f"must have whole numbers of 8 or 16 bits for data.depth {pre.depth}"
        raise ImageError(place, rule, dtype.name)


def fit_samples(samples: Samples, pre: Preprocess, place: str) -> Pixels:
    """Convert values to the depth, bands and size of `pre`.

    Raises:
        ImageError: they do not fit, or a value is not finite.
    """
    values = samples.values
    check_bands(values.shape[2], pre, place, samples.has_alpha)
    check_depth(values.dtype, pre, place)
    if 0 in values.shape:
        raise ImageError(place, "has no pixels", f"{values.shape[1]}x{values.shape[0]}")
    x = _at_depth(values, pre.depth)
    if pre.depth == "float" and not np.isfinite(x).all():
        raise ImageError(place, "holds a number that is not finite")
    if x.shape[2] != pre.channels:
        full = _full_scale(values.dtype) if pre.depth == "float" else FULL_SCALE[pre.depth]
        x = _recolored(x, pre.channels, full if samples.has_alpha else None)
    return resize.fit_bands(
        turn_array(x, samples.orientation), (pre.height, pre.width), pre.resize_mode
    )


def _at_depth(values: NDArray[Any], depth: Depth) -> Pixels:
    if depth == "float":
        # Overflow becomes infinity, which is checked.
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32, copy=False)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    if depth == 8:
        return values if values.dtype == np.uint8 else as_8_bits(values)
    if values.dtype == np.uint8:
        return values.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535
    return values.astype(np.uint16, copy=False)


def _full_scale(dtype: np.dtype[Any]) -> int:
    """Return the largest value of whole numbers; 1 for floats."""
    return int(np.iinfo(dtype).max) if dtype.kind in "ui" else 1


def _recolored(x: Pixels, channels: int, opaque: int | None) -> Pixels:
    """Convert gray to color and color to gray, as Pillow does; alpha is composited over white.

    Args:
        opaque: the value of an opaque pixel in the last band, and of white; None without alpha.
    """
    if opaque is not None and x.shape[2] in (2, 4):
        x = _over_white(x[..., :-1], x[..., -1:], opaque)
    if x.shape[2] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=2)
    if x.dtype == np.float32:
        gray = sum(x[..., i].astype(np.float64) * LUMA[i] for i in range(3)) / 2**16
        return np.asarray(gray, np.float32)[..., None]
    red, green, blue = (x[..., i].astype(np.uint32) * LUMA[i] for i in range(3))
    return ((red + green + blue + 2**15) >> 16).astype(x.dtype)[..., None]


def _over_white(color: Pixels, alpha: Pixels, opaque: int) -> Pixels:
    opacity = alpha.astype(np.float64) / opaque
    mixed = color * opacity + opaque * (1 - opacity)
    return (mixed if color.dtype == np.float32 else np.rint(mixed)).astype(color.dtype)


def fit_array(values: NDArray[Any], pre: Preprocess, place: str) -> Pixels:
    """Convert a user's array (h, w) or (h, w, bands) as `pre` says.

    Raises:
        ImageError: it does not fit.
    """
    return fit_samples(Samples(values[..., None] if values.ndim == 2 else values), pre, place)
