"""A stream of items that rank 0 reads, distributed over all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from cnn_cli.data.shards import bounds
from cnn_cli.parallel.ranks import Ranks

T = TypeVar("T")


def rounds(items: Iterator[T | None], size: int, ranks: Ranks) -> Iterator[list[T]]:
    """Yield this rank's parts of a stream that rank 0 reads: up to `size` items per rank and round.

    The parts of all ranks, in order and round by round, form the stream. Each part is a message
    from rank 0, received at the same point by all. None in the stream means that the next item is
    not there yet. It ends a round, and an empty round follows, so that work delayed by one round is
    also finished.
    """
    taken = _rounds(items, size * ranks.size)
    while (whole := ranks.first(lambda: next(taken, None))) is not None:
        yield whole[bounds(len(whole), ranks.rank, ranks.size)]


def _rounds(items: Iterator[T | None], most: int) -> Iterator[list[T]]:
    part: list[T] = []
    for item in items:
        if item is not None:
            part.append(item)
        if len(part) == most:
            yield part
            part = []
        elif item is None:
            if part:
                yield part
            yield []
            part = []
    if part:
        yield part
