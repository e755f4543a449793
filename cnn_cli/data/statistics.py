"""Mean and standard deviation of the training images, for `data.mean: auto`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.depth import FULL_SCALE, Depth, Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.reading_threads import Pool
from cnn_cli.errors import DataError, none_readable

# Bytes summed at once: for single small images, the overhead would exceed the decoding time.
BLOCK = 2**16
UNIT = 2**1074  # a float64 times that is an integer
CONSTANT = 2**-23  # relative to the mean: a smaller deviation is float32 rounding

Channels = tuple[float, ...]
Sums = NDArray[np.object_]


def mean_and_std(
    sums: Sums, paths: Sequence[str], depth: Depth = 8, errors: Iterable[DataError] = ()
) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of pixels scaled to 0..1, as in torchvision; of depth
    `float` unscaled.

    The deviation is that of the population and at least one gray level (1/255 or 1/65535), so that
    dividing by it is safe for images of one color. Depth `float` has no gray level: if all values
    are equal, it is 1.

    Args:
        sums: (3, channels), from `channel_sums`.
        paths: the image files.
        depth: depth of the images.
        errors: those of images that cannot be read.

    Returns:
        mean and std, each (channels,).

    Raises:
        DataError: no image could be read.
    """
    if not sums.any():
        place = os.path.commonpath(paths) if paths else "data"
        raise none_readable(place, len(paths), errors)
    moments = [_moments(n, first, second, depth) for n, first, second in sums.T.tolist()]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def channel_sums(
    cache: ImageCache,
    indices: NDArray[np.int64],
    threads: int,
    progress: Callable[[int], object] | None = None,
) -> Sums:
    """Return number, sum and sum of squares of the pixels of each channel.

    Every image is decoded, which fills the cache; bad ones are left out. The sums are exact
    integers, so they do not depend on the order or the number of threads. For depth `float`, the
    sums of each image in float64 are added in units of 1 / `UNIT`.

    Args:
        cache: the cache of the images.
        indices: (n,) their positions.
        threads: number of decoding threads.
        progress: called with the number of images just read, from several threads.

    Returns:
        (3, channels).
    """
    block = max(1, BLOCK // prod(cache.pre.shape))
    starts = iter(range(0, len(indices), block))
    found = [np.zeros((3, cache.pre.channels), object)]

    def work() -> None:
        ours = np.zeros((3, cache.pre.channels), object)
        for start in starts:
            images = []
            chosen = indices[start : start + block].tolist()
            for i in chosen:
                with suppress(ImageError):
                    images.append(cache.get(i))
            if cache.pre.depth == "float":
                for image in images:
                    ours += _float_sums(image)
            elif images:
                ours += _sums(np.concatenate(images))
            if progress is not None:
                progress(len(chosen))
        found.append(ours)

    with Pool(cache.useful_threads(threads)) as pool:
        pool.run(work)
    return add_sums(found)


def add_sums(found: Sequence[Sums]) -> Sums:
    """Add up sums."""
    total: Sums = np.sum(found, axis=0)
    return total


def _sums(x: Pixels) -> NDArray[np.int64]:
    """Return (3, channels): number, sum and sum of squares of the pixels of (height, width,
    channels).
    """
    height, width, channels = x.shape
    # Long rows, since summing over a few channels alone is slow.
    rows = x.reshape(height, width * channels)
    squares: NDArray[Any] = rows.astype(np.uint16 if x.dtype == np.uint8 else np.uint32)
    squares *= squares
    first, second = (
        np.add.reduce(each, axis=0, dtype=np.int64).reshape(width, channels).sum(axis=0)
        for each in (rows, squares)
    )
    return np.stack([np.full(channels, height * width), first, second])


def _float_sums(x: Pixels) -> Sums:
    """Return what `_sums` returns for values that are not integers, in units of 1 / `UNIT`."""
    height, width, channels = x.shape
    values = x.astype(np.float64)
    first, second = (each.sum(axis=(0, 1)).tolist() for each in (values, values * values))
    units = [[_in_units(value) for value in sums] for sums in (first, second)]
    return np.array([[height * width] * channels, *units], object)


def _in_units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (UNIT // denominator)


def _moments(n: int, first: int, second: int, depth: Depth) -> tuple[float, float]:
    """Return mean and deviation of `n` pixels from their sum and sum of squares."""
    unit = UNIT if depth == "float" else 1
    full = FULL_SCALE[depth]
    variance = (n * second * unit - first * first) / (n * n * unit * unit)
    mean, std = first / (n * unit) / full, sqrt(max(variance, 0.0)) / full
    if depth != "float":
        return mean, max(std, 1 / full)
    return mean, std if std > CONSTANT * abs(mean) else 1.0
