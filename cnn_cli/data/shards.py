"""Training images divided into shards, so that each of several computers reads only its own.

Every batch has a contiguous range of places for each shard; processes that share a batch take the
same ranges in the same order (`bounds`). With one shard nothing is divided.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.dataset import Indices


def bounds(n: int, part: int, parts: int) -> slice:
    """Return the places of one part in a batch of `n`: nearly equal ranges, in the order of
    parts.
    """
    return slice(n * part // parts, n * (part + 1) // parts)


def place_counts(n: int, parts: int) -> Indices:
    """Return (parts,) the number of places of each part in a batch of `n`."""
    return np.diff(n * np.arange(parts + 1) // parts)


def deal(n: int, batch_size: int, shards: int, rng: np.random.Generator) -> list[Indices]:
    """Assign `n` images to shards at random, in proportion to their places in the batches.

    Returns:
        The positions of each shard, ascending; all of them for one shard.
    """
    if shards == 1:
        return [np.arange(n)]
    full, rest = divmod(n, batch_size)
    sizes = full * place_counts(batch_size, shards) + place_counts(rest, shards)
    ends = np.cumsum(sizes)[:-1]
    return [np.sort(each) for each in np.split(rng.permutation(n), ends)]


def interleave(orders: Sequence[Indices], batch_size: int) -> Indices:
    """Merge the orders of the shards into one order of batches, with each shard in its places.

    With another batch size than the shards were made for, it ends when a shard runs out of images.
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
    """Return the images that a process reads when all processes read every image once, in shard
    order.

    If the number of processes is a multiple of the number of shards, or the other way round, these
    are whole shards or parts of one.
    """
    ends = np.cumsum([0, *map(len, shards)])

    def begin(number: int) -> int:
        shard, rest = divmod(number * len(shards), size)
        return int(ends[shard]) + (len(shards[shard]) * rest // size if rest else 0)

    return np.concatenate(shards)[begin(rank) : begin(rank + 1)]


def touched(shards: Sequence[Indices], rank: int, size: int) -> Indices:
    """Return all images that a process needs in any epoch, ascending."""
    first, stop = rank * len(shards) // size, ceil_div((rank + 1) * len(shards), size)
    return np.sort(np.concatenate(shards[first:stop]))


def partners(n: int, shards: int) -> Indices:
    """Return (n,) the place before each place of a batch; the first place of a shard gets its
    last.
    """
    before = np.arange(-1, n - 1)
    for shard in range(shards):
        place = bounds(n, shard, shards)
        if place.start < place.stop:
            before[place.start] = place.stop - 1
    return before
