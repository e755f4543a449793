"""Split batches over the ranks: each rank reads its own images, and knows all labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.dataset import Indices
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.data.roots import check_there
from cnn_cli.data.shards import bounds, partners
from cnn_cli.data.targets import Labels
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import Ranks

Awaited = Callable[[Iterator[Batch]], Iterator[Batch]]


class Source(Protocol):
    """Yields images, or the features of frozen layers."""

    def parts(self, parts: Sequence[Indices], skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """See `Loader.parts`."""


@dataclass(frozen=True, slots=True, eq=False)
class RankBatch:
    """A rank's part of a batch, valid until the next one is requested.

    Its length is that of the whole batch.

    Attributes:
        images: (m, ...) the rank's own images, possibly followed by second images of a mix.
        own: the rank's positions in the batch.
        labels: labels of the whole batch, see `targets`.
        indices: (n,) positions of the whole batch in the split.
        number: number of the batch in its epoch.
    """

    images: Array
    own: slice
    labels: Labels
    indices: Indices
    number: int

    def __len__(self) -> int:
        return len(self.labels)

    def mix(self, whole: Mix) -> Mix:
        """Return the own images' part of the batch's mix; partners are rows of `images`."""
        offset, stop = self.own.start, self.own.stop
        part = whole.rows(offset, stop)
        outside = is_outside(part.partners, self.own)
        behind = stop - offset + np.cumsum(outside) - 1
        return replace(part, partners=np.where(outside, behind, part.partners - offset))


def is_outside(places: Indices, own: slice) -> NDArray[np.bool_]:
    """Return which positions of a batch are not the rank's own."""
    outside: NDArray[np.bool_] = (places < own.start) | (places >= own.stop)
    return outside


class BatchSplitter:
    """Splits the batches of one training over the ranks.

    Args:
        ranks: the ranks of the job.
        loader: the loader of the training images.
        root: the folder of the images.
        shards: `data.shards`.
        mixed: whether two images of a batch are mixed.
    """

    def __init__(
        self, ranks: Ranks, loader: Loader, root: object, shards: int = 1, *, mixed: bool = False
    ) -> None:
        self._ranks = ranks
        self._loader = loader
        self._root = root
        self._shards = shards
        self._mixed = mixed and ranks.size > 1
        self._known: set[int] = set()  # unreadable images known to all ranks

    def batches(
        self,
        source: Source,
        order: Indices,
        awaited: Awaited,
        skip: int = 0,
        epoch: int = 0,
    ) -> Iterator[RankBatch]:
        """Yield the batches of an order that contain an image, after the first `skip`.

        Args:
            source: yields the images: the loader, or cached features.
            order: positions in the split.
            awaited: `Requests.awaited`, for the waits of a single rank.
            skip: number of batches to skip.
            epoch: determines the random changes.
        """
        size = self._loader.batch_size
        wholes = [order[first : first + size] for first in range(0, len(order), size)]
        parts = [self._part(whole) for whole in wholes]
        for batch in awaited(source.parts(parts, skip, epoch)):
            own = self._rank_batch(source, batch, wholes[batch.number], epoch)
            if len(own):
                yield own

    def _part(self, whole: Indices) -> Indices:
        """Return what this rank reads of a batch: its own images, followed by others for a mix."""
        own = bounds(len(whole), self._ranks.rank, self._ranks.size)
        return np.append(whole[own], whole[self._mates(len(whole), own)])

    def _mates(self, n: int, own: slice) -> Indices:
        """Return the positions in a batch of `n` of second images that are not the rank's own."""
        mates = partners(n, self._shards)[own]
        return mates[is_outside(mates, own) & self._mixed]

    def _rank_batch(self, source: Source, batch: Batch, whole: Indices, epoch: int) -> RankBatch:
        ranks = self._ranks
        if ranks.size == 1:
            n = len(batch)
            return RankBatch(batch.images, slice(0, n), batch.labels, batch.indices, batch.number)
        places = [bounds(len(whole), rank, ranks.size) for rank in range(ranks.size)]
        mine = whole[places[ranks.rank]]
        good = np.zeros(ceil_div(len(whole), ranks.size), np.bool_)
        good[: len(mine)] = np.isin(mine, batch.indices)
        readable = [
            each[: place.stop - place.start]
            for each, place in zip(ranks.gather(good), places, strict=True)
        ]
        everywhere = np.concatenate(readable)
        self._exchange_bad(whole[~everywhere])
        offset = sum(int(each.sum()) for each in readable[: ranks.rank])
        own = slice(offset, offset + int(readable[ranks.rank].sum()))
        indices = whole[everywhere]
        images = batch.images
        m, mates = own.stop - own.start, indices[self._mates(len(indices), own)]
        if not np.array_equal(batch.indices[m:], mates):  # one could not be read: take the next
            others = next(source.parts([mates], 0, epoch))
            if len(others) < len(mates):
                check_there(self._root)
                bad = self._loader.cache.bad
                raise next(bad[i] for i in mates.tolist() if i in bad)
            images = np.concatenate([images[:m], others.images])
        labels = self._loader.split.labels[indices]
        return RankBatch(images, own, labels, indices, batch.number)

    def _exchange_bad(self, bad: Indices) -> None:
        """Tell all ranks why images of a batch could not be read."""
        new = set(bad.tolist()) - self._known
        if not new:
            return
        self._known |= new
        cache = self._loader.cache
        share_bad(self._ranks, cache.bad, {i: cache.bad[i] for i in new & cache.bad.keys()})
        check_there(self._root)


def share_bad(ranks: Ranks, bad: dict[int, ImageError], own: dict[int, ImageError]) -> None:
    """Add all ranks' `own` to every rank's `bad`."""
    every = ranks.bring(own)
    for some in ranks.first(lambda: every):
        for i, error in some.items():
            bad.setdefault(i, error)


def sum_scores(
    ranks: Ranks, totals: Array, bad: dict[int, ImageError], root: object
) -> tuple[float, float] | None:
    """Return mean loss and top-1 accuracy of a split that the ranks have evaluated together.

    Args:
        ranks: the ranks.
        totals: totals of this rank's part, see `Evaluation.totals`.
        bad: unreadable images; those of the other ranks are added.
        root: the folder of the images.

    Returns:
        The two numbers; None if no image could be read.
    """
    loss, right, images, unread = np.sum(ranks.gather(np.append(totals, len(bad))), axis=0)
    if ranks.size > 1 and unread:
        share_bad(ranks, bad, dict(bad))
        check_there(root)
    return (float(loss / images), float(right / images)) if images else None
