"""Images with many bands and bits for tests, and a slow resize for comparison."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def npy(values: Numbers) -> bytes:
    """Return the bytes of a `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def png_16(values: NDArray[np.uint16], transparent: tuple[int, int, int] | None = None) -> bytes:
    """Return a 16-bit PNG: (h, w, 1) gray, 2 with alpha, 3 color, 4 with alpha.

    Args:
        transparent: the color that is transparent, with 3 bands.
    """
    height, width, bands = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    key = () if transparent is None else ((b"tRNS", struct.pack(">HHH", *transparent)),)
    chunks = ((b"IHDR", head), *key, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def tiff(values: Numbers, **options: Any) -> bytes:
    """Return the bytes of a TIFF file, (h, w) or (h, w, bands) by default."""
    import tifffile

    stream = io.BytesIO()
    if values.ndim == 3 and not options.keys() & {"photometric", "planarconfig"}:
        options |= {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def triangle_resize(x: Numbers, height: int, width: int) -> Numbers:
    """Resize by antialiased bilinear interpolation: a triangle as wide as the scale, in float64,
    axis by axis.
    """
    across = np.stack([_weighted(x, 1, place, width) for place in range(width)], axis=1)
    return np.stack([_weighted(across, 0, place, height) for place in range(height)], axis=0)


def _weighted(x: Numbers, axis: int, place: int, size: int) -> Numbers:
    scale = x.shape[axis] / size
    reach = max(scale, 1.0)
    center = (place + 0.5) * scale
    first, stop = max(0, int(center - reach + 0.5)), min(x.shape[axis], int(center + reach + 0.5))
    places = np.arange(first, stop)
    weights = np.maximum(0, 1 - np.abs((places + 0.5 - center) / reach))
    weights /= weights.sum()
    part = np.take(x.astype(np.float64), places, axis=axis)
    return np.tensordot(weights, np.moveaxis(part, axis, 0), axes=1)
