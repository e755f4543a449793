"""Counter-based random numbers, which depend on where they are used and not on the order of use.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a key and a counter
to random bits. The key is made of the seed and the purpose, the counter starts at a place such as
(step, layer, position). Each use has its own stream: the same for any number of threads and after a
resume, without state to save.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cnn_cli.arithmetic import ceil_div

WORD = 2**64

# Philox4x64-10, Salmon et al. 2011, table 2 and section 3.4: multipliers, Weyl increments, rounds.
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
ROUNDS = 10
HALF, LOW = np.uint64(32), np.uint64(2**32 - 1)

Words = NDArray[np.uint64]


class Purpose(IntEnum):
    """The purpose of a stream; streams of different purposes are independent."""

    INIT = 1
    SHUFFLE = 2
    SHARDS = 5
    DROPOUT = 3
    DROP_PATH = 4
    AUGMENT = 10
    MIX = 11
    RESAMPLE = 12
    SWEEP = 20


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Return the generator for one place.

    Args:
        seed: `train.seed`, from 0 to 2**64 - 1.
        purpose: what the numbers are used for.
        place: up to three integers, such as (epoch,) or (step, layer, position). A stream is 2**64
            blocks long, so neighboring places do not overlap.
    """
    words = [*place, 0, 0, 0][:3]
    counter = sum((word % WORD) << (64 * (i + 1)) for i, word in enumerate(words))
    key = (seed % WORD) | (int(purpose) << 64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def uniforms(
    seed: int, purpose: Purpose, first: int, items: NDArray[np.int64], third: int, count: int
) -> NDArray[np.float64]:
    """Draw uniform numbers in [0, 1) for many places at once.

    Row i equals ``generator(seed, purpose, first, items[i], third).random(count)`` bit for bit, at
    the cost of a few array operations instead of one generator per item.

    Args:
        seed, purpose: as in `generator`.
        first, items, third: the places: n integers `items` between two common ones.
        count: numbers per place.

    Returns:
        float64 array (n, count).
    """
    n, blocks = len(items), ceil_div(count, 4)
    shape = (n, blocks)
    counter = (
        np.broadcast_to(np.arange(1, blocks + 1, dtype=np.uint64), shape).ravel(),
        np.full(n * blocks, first % WORD, np.uint64),
        np.repeat(items.astype(np.uint64), blocks),
        np.full(n * blocks, third % WORD, np.uint64),
    )
    words = np.stack(_philox(counter, seed % WORD, int(purpose)), axis=1).reshape(n, 4 * blocks)
    numbers: NDArray[np.float64] = (words[:, :count] >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers


def _philox(counter: tuple[Words, ...], first: int, second: int) -> tuple[Words, ...]:
    """Return the four output words for each counter, under a key of two words."""
    a, b, c, d = counter
    for _ in range(ROUNDS):
        above, below = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        b = _upper_half(MULTIPLIERS[1], c) ^ b ^ np.uint64(first)
        d = _upper_half(MULTIPLIERS[0], a) ^ d ^ np.uint64(second)
        a, b, c, d = b, below, d, above
        first, second = (first + STEPS[0]) % WORD, (second + STEPS[1]) % WORD
    return a, b, c, d


def _upper_half(factor: np.uint64, x: Words) -> Words:
    """Return the upper 64 bits of the 128-bit product ``factor * x``, from 32-bit products."""
    high, low = factor >> HALF, factor & LOW
    upper, lower = x >> HALF, x & LOW
    crossed = high * lower
    middle = ((low * lower) >> HALF) + (crossed & LOW) + low * upper
    product: Words = high * upper + (crossed >> HALF) + (middle >> HALF)
    return product
