"""Mean and standard deviation of the training images, for `data.mean: auto`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import ImageError
from cnn_cli.data.depth import FULL_SCALE, Depth, Pixels
from cnn_cli.data.pool import Pool
from cnn_cli.errors import DataError

BLOCK = 2**16  # bytes summed at once: small images one by one would cost more than decoding them
UNIT = 2**1074  # a float64 times that is a whole number
CONSTANT = 2**-23  # of the mean: less deviation is how float32 rounds

Channels = tuple[float, ...]
Sums = NDArray[np.object_]


def mean_and_std(sums: Sums, paths: Sequence[str], depth: Depth = 8) -> tuple[Channels, Channels]:
    """Of pixels scaled to 0..1, as in torchvision; of `float` as they are.

    The deviation is that of the population, at least one grey level (1/255, or 1/65535), so that
    dividing by it is safe for images of one colour. Numbers of `float` have no grey level: where
    they are all the same, it is 1.

    Args:
        sums: (3, channels) of `channel_sums`.
        paths: of the images.
        depth: of the images.

    Returns:
        mean and std, each (channels,).

    Raises:
        DataError: no image could be read.
    """
    if not sums.any():
        place = os.path.commonpath(paths) if paths else "data"
        raise DataError(place, "must hold a readable image", f"{len(paths)} that cannot")
    moments = [_moments(n, first, second, depth) for n, first, second in sums.T.tolist()]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def channel_sums(
    cache: ImageCache,
    indices: NDArray[np.int64],
    threads: int,
    progress: Callable[[int], object] | None = None,
) -> Sums:
    """Number, sum and sum of squares of the pixels of each channel.

    Every image is decoded, which fills the cache; bad ones are left out. The sums are whole numbers
    of any size: the same in any order, and for any number of threads. Those of `float`, of an image
    each in float64, are counted in parts of `UNIT`.

    Args:
        cache: of the images.
        indices: (n,) their positions.
        threads: that decode.
        progress: called with a number of images after those, from several threads.

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
    """The sums of all that some were made of."""
    total: Sums = np.sum(found, axis=0)
    return total


def _sums(x: Pixels) -> NDArray[np.int64]:
    """(3, channels): number, sum and sum of squares of the pixels of (height, width, channels)."""
    height, width, channels = x.shape
    rows = x.reshape(height, width * channels)  # long runs: a few channels alone are slow
    squares: NDArray[Any] = rows.astype(np.uint16 if x.dtype == np.uint8 else np.uint32)
    squares *= squares
    first, second = (
        np.add.reduce(each, axis=0, dtype=np.int64).reshape(width, channels).sum(axis=0)
        for each in (rows, squares)
    )
    return np.stack([np.full(channels, height * width), first, second])


def _float_sums(x: Pixels) -> Sums:
    """The same of numbers that are not whole."""
    height, width, channels = x.shape
    values = x.astype(np.float64)
    first, second = (each.sum(axis=(0, 1)).tolist() for each in (values, values * values))
    units = [[_in_units(value) for value in sums] for sums in (first, second)]
    return np.array([[height * width] * channels, *units], object)


def _in_units(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (UNIT // denominator)


def _moments(n: int, first: int, second: int, depth: Depth) -> tuple[float, float]:
    """Mean and deviation of `n` pixels, of their sum and the sum of their squares."""
    unit = UNIT if depth == "float" else 1
    full = FULL_SCALE[depth]
    variance = (n * second * unit - first * first) / (n * n * unit * unit)
    mean, std = first / (n * unit) / full, sqrt(max(variance, 0.0)) / full
    if depth != "float":
        return mean, max(std, 1 / full)
    return mean, std if std > CONSTANT * abs(mean) else 1.0
