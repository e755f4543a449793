"""Random numbers for the augmentation of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.dataset import Indices
from cnn_cli.rng import Purpose, generator, uniforms


class Stream(int):
    """The number of a stream of random numbers.

    Each technique has its own stream, so its random numbers do not depend on which others are on. A
    new technique takes an unused number, which tests/data/augment/test_draws.py checks.
    """

    __slots__ = ()


def numbers_for(
    seed: int, stream: Stream, epoch: int, indices: Indices, count: int
) -> NDArray[np.float64]:
    """Return (n, count) uniform numbers in [0, 1), one row per image."""
    return uniforms(seed, Purpose.AUGMENT, epoch, indices, stream, count)


def stream_for(seed: int, stream: Stream, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of one image; its first numbers equal the image's row of
    `numbers_for`.
    """
    return generator(seed, Purpose.AUGMENT, epoch, index, stream)


def between(numbers: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map uniform numbers in [0, 1) to the range from `low` to `high`."""
    return low + (high - low) * numbers


def below(numbers: NDArray[np.float64], bound: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Map uniform numbers in [0, 1) to integers from 0 to `bound` - 1."""
    whole: NDArray[np.int64] = (numbers * bound).astype(np.int64)
    return whole
