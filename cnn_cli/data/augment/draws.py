"""The random numbers of an image's augmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn_cli.rng import Purpose, generator, uniforms

Indices = NDArray[np.int64]


class Part(int):
    """What numbers are for.

    Each technique has a number of its own, so that its random numbers are the same whatever others
    are on. A new technique takes a number that none has; tests/data/augment/test_draws.py checks.
    """

    __slots__ = ()


def numbers_for(
    seed: int, part: Part, epoch: int, indices: Indices, count: int
) -> NDArray[np.float64]:
    """(n, count) numbers from 0 up to, but not, 1: a row an image."""
    return uniforms(seed, Purpose.AUGMENT, epoch, indices, part, count)


def stream_for(seed: int, part: Part, epoch: int, index: int) -> np.random.Generator:
    """The generator of one image; its first numbers are the image's row of `numbers_for`."""
    return generator(seed, Purpose.AUGMENT, epoch, index, part)


def between(numbers: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Numbers from 0 to 1, spread evenly from `low` to `high`."""
    return low + (high - low) * numbers


def below(numbers: NDArray[np.float64], bound: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from 0 to 1 as whole ones from 0 up to, but not, `bound`."""
    whole: NDArray[np.int64] = (numbers * bound).astype(np.int64)
    return whole
