"""Batches of decoded images, made ready while the network works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import ImageError, Pixels, Preprocess, Source, load_image
from cnn_cli.data.pool import Pool
from cnn_cli.data.prefetch import Filled, Filler, Indices

if TYPE_CHECKING:  # prediction decodes without what augmentation needs
    from cnn_cli.data.augment import Augmentation

WINDOW = 4


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images for one step, valid until the next batch is asked for.

    Attributes:
        images: (n, height, width, channels) bytes.
        labels: (n,) class numbers.
        indices: (n,) positions in the split.
        number: which batch of the order it is, counting those that were left out.
    """

    images: Pixels
    labels: Indices
    indices: Indices
    number: int

    def __len__(self) -> int:
        return len(self.labels)


class Loader:
    """Batches of a split in any order.

    Which images form a batch follows from their position in the order alone, not from how fast
    they are read or which of them are bad.

    Attributes:
        augment: random changes to the images; None leaves them as they are.
        bad: path and problem of the images that were left out of the batches so far.
    """

    def __init__(
        self,
        split: Split,
        cache: ImageCache,
        batch_size: int,
        threads: int,
        on_corrupt: Literal["skip", "error"] = "skip",
        augment: Augmentation | None = None,
    ) -> None:
        self.split = split
        self.cache = cache
        self.batch_size = batch_size
        self.threads = threads
        self.on_corrupt = on_corrupt
        self.augment = augment
        self.bad: dict[str, str] = {}

    def batches(self, order: Indices, start: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """Batches of ``order[start * batch_size:]``; a batch of bad images only is left out.

        Closing or dropping the iterator ends its threads.

        Args:
            order: positions in the split, each any number of times.
            start: batches to pass over.
            epoch: which random changes depend on.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        order, size = np.asarray(order, np.int64), self.batch_size
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        return (batch for batch in self.parts(parts, start, epoch) if len(batch))

    def parts(self, parts: Sequence[Indices], start: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """The images at given positions, part by part; of an empty part and of bad images only
        there is an empty batch.

        Args:
            parts: positions in the split.
            start: parts to pass over.
            epoch: which random changes depend on.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        filler = Filler(self.cache, self.threads, self.augment, epoch)
        filler.start(parts, start)
        try:
            while (filled := filler.take()) is not None:
                self._note(filled)
                images = filled.buffer[: len(filled.indices)]
                labels = self.split.labels[filled.indices]
                yield Batch(images, labels, filled.indices, filled.number)
                filler.give(filled.buffer)
        finally:
            filler.stop()

    def _note(self, filled: Filled) -> None:
        for i in filled.bad:
            error = self.cache.bad[int(i)]
            if self.on_corrupt == "error":
                raise ImageError(error.place, error.rule, error.got)
            self.bad[self.split.paths[i]] = error.message


def decode_stream(
    items: Iterable[tuple[str, Source | ImageError]], pre: Preprocess, threads: int
) -> Iterator[tuple[str, Pixels | ImageError]]:
    """Decode images on several threads, in the order they come, a few ahead of the reader.

    Memory stays bounded: at most ``4 * threads`` items are taken before the first is yielded.

    Args:
        items: names and what to read, as `load_image` takes it; an error is handed through.
        pre: size, channels and resize mode.
        threads: that decode.

    Yields:
        The name, and the image as (height, width, channels) or what is wrong with it.
    """
    waiting: deque[tuple[str, Future[Pixels | ImageError]]] = deque()
    with Pool(threads) as pool:
        for name, source in items:
            waiting.append((name, pool.submit(_decoded, source, pre, name)))
            if len(waiting) == WINDOW * threads:
                first, image = waiting.popleft()
                yield first, image.result()
        while waiting:
            first, image = waiting.popleft()
            yield first, image.result()


def decode_batches(
    batches: Iterable[Sequence[tuple[str, Source | ImageError]]], pre: Preprocess, threads: int
) -> Iterator[list[tuple[str, Pixels | ImageError]]]:
    """The same batch by batch: exactly one is taken ahead, so that it is known when."""
    waiting: deque[list[tuple[str, Future[Pixels | ImageError]]]] = deque()
    with Pool(threads) as pool:
        for batch in chain(batches, [()]):
            waiting.append(
                [(name, pool.submit(_decoded, source, pre, name)) for name, source in batch]
            )
            if len(waiting) > 1:
                yield [(name, image.result()) for name, image in waiting.popleft()]


def _decoded(source: Source | ImageError, pre: Preprocess, name: str) -> Pixels | ImageError:
    if isinstance(source, ImageError):
        return source
    try:
        return load_image(source, pre, name)
    except ImageError as error:
        return error.with_traceback(None)
