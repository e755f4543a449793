"""Mean and standard deviation of the training images, for `data.mean: auto`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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


def mean_and_std(sums: NDArray[np.int64], paths: Sequence[str]) -> tuple[Channels, Channels]:
    """Of pixels scaled to 0..1, as in torchvision.

    The deviation is that of the population, at least one grey level (1/255), so that dividing by
    it is safe for images of one colour.

    Args:
        sums: (3, channels) of `channel_sums`.
        paths: of the images.

    Returns:
        mean and std, each (channels,).

    Raises:
        DataError: no image could be read.
    """
    if not sums.any():
        place = os.path.commonpath(paths) if paths else "data"
        raise DataError(place, "must hold an image that can be read", f"{len(paths)} that cannot")
    moments = [_moments(*(int(number) for number in channel)) for channel in sums.T]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def channel_sums(
    cache: ImageCache,
    indices: NDArray[np.int64],
    threads: int,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.int64]:
    """Number, sum and sum of squares of the pixels of each channel.

    Every image is decoded, which fills the cache; bad ones are left out. The sums are exact: the
    same in any order, and for any number of threads.

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
    found = [np.zeros((3, cache.pre.channels), np.int64)]

    def work() -> None:
        ours = np.zeros((3, cache.pre.channels), np.int64)
        for start in starts:
            images = []
            chosen = indices[start : start + block].tolist()
            for i in chosen:
                with suppress(ImageError):
                    images.append(cache.get(i))
            if images:
                ours += _sums(np.concatenate(images))
            if progress is not None:
                progress(len(chosen))
        found.append(ours)

    with Pool(cache.useful_threads(threads)) as pool:
        pool.run(work)
    total: NDArray[np.int64] = np.sum(found, axis=0)
    return total


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
