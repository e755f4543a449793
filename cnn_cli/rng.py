"""Random numbers that depend on where they are used, never on the order of use.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a key and a
counter into random bits. Keyed by the seed and the purpose, and counting from a place such as
(step, layer, position), every use has a stream of its own: the same for any number of threads,
and after a resume, with no state to save.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

WORD = 2**64


class Purpose(IntEnum):
    """What a stream is for; two purposes never share one."""

    INIT = 1
    SHUFFLE = 2
    DROPOUT = 3


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """The stream of one place.

    Args:
        seed: `train.seed`, from 0 to 2**64 - 1.
        purpose: what the numbers are for.
        place: up to three whole numbers, such as (epoch,) or (step, layer, position). A stream
            is 2**64 blocks long, so neighbouring places do not overlap.
    """
    words = [*place, 0, 0, 0][:3]
    counter = sum((word % WORD) << (64 * (i + 1)) for i, word in enumerate(words))
    key = (seed % WORD) | (int(purpose) << 64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))
