"""Mean and standard deviation of the training images, for `data.mean: auto`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import ImageError, Pixels
from cnn_cli.data.pool import Pool
from cnn_cli.errors import DataError

LEAST_STD = 1 / 255
BLOCK = 2**16  # bytes summed at once: small images one by one would cost more than decoding them

Channels = tuple[float, ...]


def channel_statistics(
    cache: ImageCache, n: int, threads: int, progress: Callable[[int], object] | None = None
) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel, on pixels scaled to 0..1 as in torchvision.

    Every image is decoded, which fills the cache; bad ones are left out. The sums are exact, so
    that the result does not depend on the number of threads. The deviation is that of the
    population, at least one grey level (1/255), so that dividing by it is safe for images of one
    colour.

    Args:
        cache: of the images.
        n: how many of them to read, from the first.
        threads: that decode.
        progress: called with a number of images after those, from several threads.

    Returns:
        mean and std, each (channels,).

    Raises:
        DataError: no image can be read.
    """
    block = max(1, BLOCK // prod(cache.pre.shape))
    starts = iter(range(0, n, block))
    found: list[NDArray[np.int64]] = []

    def work() -> None:
        ours = np.zeros((3, cache.pre.channels), np.int64)
        for start in starts:
            images = []
            stop = min(n, start + block)
            for i in range(start, stop):
                with suppress(ImageError):
                    images.append(cache.get(i))
            if images:
                ours += _sums(np.concatenate(images))
            if progress is not None:
                progress(stop - start)
        found.append(ours)

    with Pool(cache.useful_threads(threads)) as pool:
        pool.run(work)
    total = np.sum(found, axis=0)
    if not total.any():
        place = os.path.commonpath(cache.paths[:n]) if n else "data"
        raise DataError(place, "must hold an image that can be read", f"{n} that cannot")
    moments = [_moments(*(int(number) for number in channel)) for channel in total.T]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def _sums(x: Pixels) -> NDArray[np.int64]:
    """(3, channels): number, sum and sum of squares of the pixels of (height, width, channels)."""
    height, width, channels = x.shape
    rows = x.reshape(height, width * channels)  # long runs: a few channels alone are slow
    squares = rows.astype(np.uint16)
    squares *= squares
    first, second = (
        np.add.reduce(each, axis=0, dtype=np.int64).reshape(width, channels).sum(axis=0)
        for each in (rows, squares)
    )
    return np.stack([np.full(channels, height * width), first, second])


def _moments(n: int, first: int, second: int) -> tuple[float, float]:
    """Mean and deviation of `n` pixels, of their sum and the sum of their squares."""
    variance = (n * second - first * first) / (n * n)
    return first / n / 255, max(sqrt(variance) / 255, LEAST_STD)
