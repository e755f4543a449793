"""A stream of items that rank 0 reads, dealt out to all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from cnn_cli.data.shards import bounds
from cnn_cli.parallel.ranks import Ranks

T = TypeVar("T")


def rounds(items: Iterator[T | None], size: int, ranks: Ranks) -> Iterator[list[T]]:
    """This rank's parts of a stream that rank 0 reads: up to `size` items a rank and round.

    The parts of all ranks, one after the other and round by round, are the stream. Each part is a
    message from rank 0, at the same moment for all. None in the stream, which says that the next
    item is waited for, ends a round, and an empty one follows: who works on the round before the
    last one comes to the last.
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
