"""Decode an image file to the network's input pixels, the same way for training and prediction.

EXIF orientation is applied, 16 bits are scaled to 8, alpha is composited over white, and the image
is converted to Pillow's L or RGB and resized by Pillow's antialiased bilinear filter. Only the
first frame of an animation is used. JPEGs much larger than needed are decoded at 1/2, 1/4 or 1/8 of
their size.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from cnn_cli.data import resize
from cnn_cli.data.archive import MOST_BYTES, open_picture
from cnn_cli.data.depth import Pixels
from cnn_cli.data.draft import LARGE, draft
from cnn_cli.data.formats import (
    OnFrames,
    has_frames,
    has_heif,
    is_array,
    is_heif,
    is_postscript,
    is_tiff,
    open_image,
)
from cnn_cli.data.image_error import ImageError, NoReaderError, check_pixels, too_large
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.upright import as_plain, displayed_size, has_lost_key, orientation_of, turn_image
from cnn_cli.errors import reason
from cnn_cli.files import NO_DESCRIPTOR, NoDescriptorError

Source = str | Path | bytes

CHOSEN = ("format", "mode", "size", "tile", "info")
"""Attributes of an opened image that tell which of its pixels will be decoded."""


def load_image(
    source: Source, pre: Preprocess, name: str | None = None, on_frames: OnFrames | None = None
) -> Pixels:
    """Decode an image to (height, width, channels); the array may be read-only.

    Thread-safe.

    Args:
        source: a path, or the bytes of an image file.
        pre: size, channels and resize mode.
        name: the name of the image in errors; by default its path.
        on_frames: called with that name if the file has more than one frame.

    Raises:
        ImageError: the file cannot be read, is not an image, is damaged, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`. The error keeps no decoded data alive.
    """
    return _or_raise(read_image(source, pre, name, on_frames))


def read_image(
    source: Source, pre: Preprocess, name: str | None = None, on_frames: OnFrames | None = None
) -> Pixels | ImageError:
    """Like `load_image`, but return the error. It was never raised, so keeping it keeps no frames
    and therefore no image alive.
    """
    place = name if name is not None else "image" if isinstance(source, bytes) else str(source)
    try:
        with _binary(source, place) as file:
            if not pre.is_plain:
                return _read_samples(file, pre, place, on_frames)
            try:
                image = open_image(file)
            except UnidentifiedImageError:
                if (found := _read_otherwise(file, pre, place)) is not None:
                    return found
                raise
            try:
                check_pixels(image.width, image.height, place)
                if on_frames is not None and has_frames(image):
                    on_frames(place)
                if has_lost_key(image):
                    file.seek(0)
                    return _read_samples(file, pre, place)
                box = _scaled_down(image, pre)
                return _fitted(image, pre, place, box)
            finally:
                image.close()  # frees its memory even if something still refers to it
    except Exception as error:
        return _as_image_error(error, place)


def _read_samples(
    file: IO[bytes], pre: Preprocess, place: str, on_frames: OnFrames | None = None
) -> Pixels:
    from cnn_cli.data.samples import read_samples  # rarely needed

    return read_samples(file, pre, place, on_frames)


def _read_otherwise(file: IO[bytes], pre: Preprocess, place: str) -> Pixels | ImageError | None:
    """Read what Pillow cannot: a NumPy array or a TIFF for tifffile; or return an error, else None.

    Raises:
        ImageError: bands or depth do not fit.
    """
    if is_array(file):
        return _read_samples(file, pre, place)
    if is_postscript(file):
        return ImageError(place, "is PostScript, which is a program and not an image")
    if is_heif(file) and not has_heif():
        return ImageError(place, "is HEIF; install the extra heic")
    try:
        return _read_samples(file, pre, place) if is_tiff(file) else None
    except NoReaderError:
        return None
    except ImageError:
        raise
    except Exception:  # tifffile raises nearly any exception for damaged files
        return None


def fit_image(image: Image.Image, pre: Preprocess, name: str) -> Pixels:
    """Like `load_image`, for an open Pillow image, whose size, mode and pixels are not changed.

    A large JPEG that is opened but not decoded is read from its file, with the same result as from
    its path.

    Raises:
        ImageError: the image is closed or empty, or its file is damaged.
    """
    return _or_raise(_fit_image(image, pre, name))


def _fit_image(image: Image.Image, pre: Preprocess, place: str) -> Pixels | ImageError:
    try:
        if getattr(image, "tile", None):  # nothing is decoded yet
            if image.format == "EPS":
                return ImageError(place, "is PostScript, which is a program and not an image")
            if getattr(image, "fp", None) is None:
                return ImageError(place, "cannot be read", "a closed image")
        if not pre.is_plain or has_lost_key(image):
            return _fit_samples(image, pre, place)
        content = _undecoded(image)
        return _fitted(image, pre, place) if content is None else read_image(content, pre, place)
    except Exception as error:
        # The image or its file is closed.
        if isinstance(error, ValueError) and "closed" in str(error):
            return ImageError(place, "cannot be read", "a closed image")
        return _as_image_error(error, place)


def _fit_samples(image: Image.Image, pre: Preprocess, place: str) -> Pixels:
    """Use decoded pixels as they are; otherwise read the file, with all its bits."""
    from cnn_cli.data.samples import fit_samples, from_image, read_samples

    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.tell():
        return fit_samples(from_image(image, pre, place), pre, place)
    start = file.tell()
    try:
        file.seek(0)
        return read_samples(io.BytesIO(file.read()), pre, place)
    finally:
        file.seek(start)


def _undecoded(image: Image.Image) -> bytes | None:
    """Return the file content of an opened JPEG that would be decoded at a reduced size.

    None if it is already decoded, or if the caller chose what to decode: another frame of an MPO,
    another size or mode, or more pixels than Pillow's limit.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.tile or not image.fp:
        return None
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if pixels < LARGE or (limit is not None and pixels > limit) or image.tell():
        return None
    file, place = image.fp, image.fp.tell()
    try:
        with open_image(file) as first:
            same = all(getattr(first, what) == getattr(image, what) for what in CHOSEN)
        file.seek(0)
        return file.read() if same else None
    finally:
        file.seek(place)


def _or_raise(found: Pixels | ImageError) -> Pixels:
    try:
        if isinstance(found, ImageError):
            raise found
        return found
    finally:
        del found  # otherwise the traceback would form a reference cycle


def _as_image_error(error: Exception, place: str) -> ImageError:
    """Convert an exception from reading an image to an error.

    Raises:
        NoDescriptorError: the image is intact, but it or a file of Pillow could not be opened.
    """
    match error:
        case NoDescriptorError():
            raise error
        case ImageError():
            return error.unraised()
        case UnidentifiedImageError():
            return ImageError(place, "not an image Pillow can read")
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            found = re.search(r"\d+", str(error))
            return too_large(place, int(found[0]) if found else None)
        case MemoryError():
            return ImageError(place, "does not fit in memory")
        case OSError(errno=number) if number in NO_DESCRIPTOR:
            raise NoDescriptorError(place, "cannot be opened", reason(error)) from error
        case OSError(errno=int()):
            return ImageError(place, "cannot be read", reason(error))
    return ImageError(place, "truncated or damaged")  # plugins raise nearly any exception


def upright_size(path: str) -> tuple[int, int] | None:
    """Return width and height of an image as displayed, reading little of it; None if it is not an
    image.
    """
    try:
        with _binary(path, path) as file:
            try:
                with open_image(file) as image:
                    return displayed_size(image)
            except UnidentifiedImageError:
                from cnn_cli.data.samples import facts_of

                return facts_of(file, path).size
    except Exception:  # plugins raise nearly any exception for damaged files
        return None


def _scaled_down(image: Image.Image, pre: Preprocess) -> resize.Box | None:
    """Decode a large JPEG at a reduced size; return the box of the image in it, see `draft`."""
    # MPO, which many cameras write, is a subclass.
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    return draft(image, (pre.height, pre.width), pre.resize_mode, orientation_of(image))


def _fitted(
    image: Image.Image, pre: Preprocess, place: str, box: resize.Box | None = None
) -> Pixels:
    """Resize and convert an image; its size and mode are not changed."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        rule = "must have whole numbers of 8 or 16 bits for data.depth 8"
        raise ImageError(place, rule, "floats" if image.mode == "F" else "32 bits, or a sign")
    if 0 in image.size:
        raise ImageError(place, "has no pixels", f"{image.width}x{image.height}")
    image.load()
    plain = as_plain(image, "L" if pre.channels == 1 else "RGB")
    turned = turn_image(plain, orientation_of(image))
    fitted = resize.fit(turned, (pre.height, pre.width), pre.resize_mode, box)
    return np.frombuffer(fitted.tobytes(), np.uint8).reshape(pre.shape)


def _binary(source: Source, place: str) -> IO[bytes]:
    """Open a source as a seekable binary file."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        file = open_picture(source)
    except ValueError as error:  # the name contains a NUL byte
        raise ImageError(place, "cannot be read", error) from None
    if file.seekable():
        return file
    with file:
        return io.BytesIO(read_stream(file, place))


def read_stream(stream: BinaryIO, place: str) -> bytes:
    """Read a pipe to its end.

    Raises:
        ImageError: it is longer than `MOST_BYTES`.
    """
    content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ImageError(place, f"must have at most {MOST_BYTES:,} bytes")
    return content
