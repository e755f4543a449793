"""A stream of items that rank 0 reads, dealt out to all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from cnn_cli.data.shards import bounds
from cnn_cli.parallel.ranks import Ranks

T = TypeVar("T")


def rounds(items: Iterator[T], size: int, ranks: Ranks) -> Iterator[list[T]]:
    """This rank's parts of a stream that rank 0 reads: up to `size` items a rank and round.

    The parts of all ranks, one after the other and round by round, are the stream. Each part is a
    message from rank 0, at the same moment for all.
    """
    while whole := ranks.first(lambda: list(islice(items, size * ranks.size))):
        yield whole[bounds(len(whole), ranks.rank, ranks.size)]
