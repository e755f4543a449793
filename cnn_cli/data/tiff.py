"""TIFF files that Pillow cannot read in full, read by tifffile (the extra `tiff`).

Only the first page is read, or as many pages as there are bands. References to other files are not
followed.
"""

from __future__ import annotations

import logging
from functools import cache
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli import system
from cnn_cli.data.depth import REAL_KINDS
from cnn_cli.data.image_error import ImageError, NoReaderError, check_pixels
from cnn_cli.errors import missing_extra

SAMPLES, SAMPLE_FORMAT, PHOTOMETRIC, ORIENTATION = 277, 339, 262, 274
SIGNED = 2
MINIMUM_IS_WHITE, MINIMUM_IS_BLACK = 0, 1
ALPHA = (1, 2)  # of ExtraSamples: associated or unassociated alpha

Facts = tuple[int, int, int, np.dtype[Any], bool, int]


def facts(file: IO[bytes], place: str, channels: int = 1) -> Facts:
    """Return height, width, bands, dtype, whether the last band is alpha, and the orientation.

    Args:
        file: seekable.
        channels: this many single-band pages count as its bands.

    Raises:
        ImageError: it does not have the shape of an image, or tifffile is not installed.
        Exception: nearly any, for damaged files.
    """
    with _open(file, place) as opened:
        page = opened.pages[0]
        if page.dtype is None or page.dtype.kind not in REAL_KINDS or page.imagedepth != 1:
            raise ImageError(place, "must be a flat image of numbers")
        check_pixels(page.tilewidth or 1, page.tilelength or 1, place)
        bands = page.samplesperpixel
        if bands == 1 and channels > 1 and _has_pages(opened, channels):
            bands = channels
        has_alpha = bool(page.extrasamples) and page.extrasamples[-1] in ALPHA
        orientation = int(page.tags.valueof(ORIENTATION, 1))
        return page.imagelength, page.imagewidth, bands, page.dtype, has_alpha, orientation


def read_values(file: IO[bytes], place: str, channels: int) -> NDArray[Any]:
    """Read the values of a file that `facts` accepted, (height, width, bands).

    Raises:
        ImageError: a codec is not installed, or pages differ in shape.
        Exception: nearly any, for damaged files.
    """
    with _open(file, place) as opened:
        first = opened.pages[0]
        if first.samplesperpixel > 1 or not _has_pages(opened, channels):
            return _values(first, place)
        pages = [opened.pages[i] for i in range(channels)]
        if any(page.shape != first.shape or page.dtype != first.dtype for page in pages):
            raise ImageError(place, "must have pages of one size and depth to be its bands")
        return np.concatenate([_values(page, place) for page in pages], axis=2)


def _values(page: Any, place: str) -> NDArray[Any]:
    # tifffile would fill in each missing tile, which takes hours for millions of them.
    if prod(page.chunked) > len(page.dataoffsets):
        raise ImageError(place, "truncated or damaged")
    try:
        values: NDArray[Any] = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise _missing(place, "imagecodecs") from error
        raise
    if page.axes == "SYX":
        values = values.transpose(1, 2, 0)
    if page.photometric == MINIMUM_IS_WHITE and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    shape = page.imagelength, page.imagewidth, page.samplesperpixel
    return values.reshape(shape).astype(values.dtype.newbyteorder("="), copy=False)


def _has_pages(opened: Any, count: int) -> bool:
    """Whether the number of pages is exactly `count`."""
    if count == 1:
        return True
    try:
        opened.pages[count - 1]
    except IndexError:
        return False
    try:
        opened.pages[count]
    except IndexError:
        return True
    return False


def _open(file: IO[bytes], place: str) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise _missing(place, "tifffile") from error
    _hush()
    file.seek(0)
    return tifffile.TiffFile(file)


def _missing(place: str, package: str) -> NoReaderError:
    return NoReaderError(place, missing_extra(place, package, "tiff").rule)


@cache
def _hush() -> None:
    """Silence tifffile, if the process is the program's own."""
    if system.process_is_ours():
        logging.getLogger("tifffile").addHandler(logging.NullHandler())
