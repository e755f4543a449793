"""NumPy's `.npy` files as images: (height, width) or (height, width, bands)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from cnn_cli.data.depth import REAL_KINDS
from cnn_cli.data.image_error import ImageError

MOST_ITEMSIZE = 8


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file.

    Attributes:
        shape: (height, width, bands).
        by_columns: the array is stored in Fortran order.
        start: offset of the values in bytes.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    by_columns: bool
    start: int


def read_header(file: IO[bytes], place: str) -> Header:
    """Read the header of a file, and check that the file is long enough.

    Raises:
        ImageError: it is not an image, or is too short.
        ValueError: for damaged files; other exceptions are possible.
    """
    file.seek(0)
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ImageError(place, "must be of version 1 or 2 of NumPy's format", version)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, by_columns, dtype = read(file)
    if dtype.kind not in REAL_KINDS or dtype.itemsize > MOST_ITEMSIZE:
        raise ImageError(place, "must be an array of numbers", dtype)
    if len(shape) not in (2, 3):
        rule = "must be an array of (height, width) or (height, width, bands)"
        raise ImageError(place, rule, f"shape {shape}")
    height, width, *rest = shape
    start = file.tell()
    if file.seek(0, os.SEEK_END) - start < prod(shape) * dtype.itemsize:
        raise ImageError(place, "truncated or damaged")
    return Header((height, width, rest[0] if rest else 1), dtype, by_columns, start)


def read_values(file: IO[bytes], header: Header, place: str) -> NDArray[Any]:
    """Read the values, (height, width, bands), in native byte order.

    Raises:
        ImageError: the file has become shorter.
    """
    file.seek(header.start)
    nbytes = prod(header.shape) * header.dtype.itemsize
    content = file.read(nbytes)
    if len(content) < nbytes:
        raise ImageError(place, "truncated or damaged")
    values: NDArray[Any] = np.frombuffer(content, header.dtype)
    values = values.reshape(header.shape, order="F" if header.by_columns else "C")
    return values.astype(header.dtype.newbyteorder("="), copy=False)
