"""Training images dealt out into shards, so that each of several computers reads only its own.

Every batch has a run of places for each shard, one behind the other; processes that work on one
batch take the same runs in the same order (`bounds`). With one shard nothing is dealt out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def bounds(n: int, part: int, parts: int) -> slice:
    """The places of a batch of `n` that are a part's: near-equal runs, in the order of parts."""
    return slice(n * part // parts, n * (part + 1) // parts)


def place_counts(n: int, parts: int) -> Indices:
    """(parts,) how many places of a batch of `n` each part has."""
    return np.diff(n * np.arange(parts + 1) // parts)


def deal(n: int, batch_size: int, shards: int, rng: np.random.Generator) -> list[Indices]:
    """Which of `n` images belong to which shard, at random: as many as batches have places for.

    Returns:
        The shards' positions, each in ascending order; all of them for one shard.
    """
    if shards == 1:
        return [np.arange(n)]
    full, rest = divmod(n, batch_size)
    sizes = full * place_counts(batch_size, shards) + place_counts(rest, shards)
    ends = np.cumsum(sizes)[:-1]
    return [np.sort(each) for each in np.split(rng.permutation(n), ends)]


def interleave(orders: Sequence[Indices], batch_size: int) -> Indices:
    """One order of batches of the shards' orders, each of which has its places in every batch.

    With another batch size than they were dealt for, it ends where one shard has no more images.
    """
    shards, n = len(orders), sum(map(len, orders))
    if shards == 1:
        return orders[0]
    taken = np.zeros(shards, np.int64)
    left = np.array([len(order) for order in orders])
    pieces = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start)
        while np.any((counts := place_counts(size, shards)) > left):
            size -= 1
        ends = taken + counts
        pieces += [orders[shard][taken[shard] : ends[shard]] for shard in range(shards)]
        taken, left = ends, left - counts
        if size < batch_size:
            break
    return np.concatenate(pieces)


def rank_images(shards: Sequence[Indices], rank: int, size: int) -> Indices:
    """The images that a process reads where all of them read every image once, in shards' order.

    With as many processes a shard as another, or the other way round, these are whole shards or
    parts of one.
    """
    ends = np.cumsum([0, *map(len, shards)])

    def begin(number: int) -> int:
        shard, rest = divmod(number * len(shards), size)
        return int(ends[shard]) + (len(shards[shard]) * rest // size if rest else 0)

    return np.concatenate(shards)[begin(rank) : begin(rank + 1)]


def touched(shards: Sequence[Indices], rank: int, size: int) -> Indices:
    """All images that a process has to do with in some epoch, in ascending order."""
    first, stop = rank * len(shards) // size, -(-(rank + 1) * len(shards) // size)
    return np.sort(np.concatenate(shards[first:stop]))


def partners(n: int, shards: int) -> Indices:
    """(n,) the place before each one of a batch; before a shard's first place is its last."""
    before = np.arange(-1, n - 1)
    for shard in range(shards):
        place = bounds(n, shard, shards)
        if place.start < place.stop:
            before[place.start] = place.stop - 1
    return before
