"""Batches of decoded images, made ready while the network works on the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import ImageError
from cnn_cli.data.depth import Pixels
from cnn_cli.data.pool import Pool, take
from cnn_cli.data.targets import Labels
from cnn_cli.threads import start_thread

if TYPE_CHECKING:  # evaluation needs nothing of augmentation
    from cnn_cli.data.augment import Augmentation

Indices = NDArray[np.int64]

BUFFERS = 4  # one with the network, one being filled, two ready


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images for one step, valid until the next batch is asked for.

    Attributes:
        images: (n, height, width, channels), of the type of `data.depth`.
        labels: of the images, see `targets`.
        indices: (n,) positions in the split.
        number: which batch of the order it is, counting those that were left out.
    """

    images: Pixels
    labels: Labels
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

    def batches(self, order: Indices, skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """Batches of ``order[skip * batch_size:]``; a batch of bad images only is left out.

        Closing or dropping the iterator ends its threads.

        Args:
            order: positions in the split, each any number of times.
            skip: batches to pass over.
            epoch: which random changes depend on.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        order, size = np.asarray(order, np.int64), self.batch_size
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        return (batch for batch in self.parts(parts, skip, epoch) if len(batch))

    def parts(self, parts: Sequence[Indices], skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """The images at given positions, part by part; of an empty part and of bad images only
        there is an empty batch.

        Args:
            parts: positions in the split.
            skip: parts to pass over.
            epoch: which random changes depend on.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        filler = _Filler(self.cache, self.threads, self.augment, epoch)
        filler.start(parts, skip)
        try:
            while (filled := filler.take()) is not None:
                self._note(filled)
                images = filled.buffer[: len(filled.indices)]
                labels = self.split.labels[filled.indices]
                yield Batch(images, labels, filled.indices, filled.number)
                filler.give(filled.buffer)
        finally:
            filler.stop()

    def _note(self, filled: _Filled) -> None:
        for i in filled.bad:
            error = self.cache.bad[int(i)]
            if self.on_corrupt == "error":
                raise error.unraised()
            self.bad[self.split.paths[i]] = error.message


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """A buffer whose first images are those of `indices`.

    Attributes:
        buffer: (size, height, width, channels), of the type of `data.depth`.
        indices: positions of the images in it.
        bad: positions of those that could not be decoded, in their order.
        number: which part it is.
    """

    buffer: Pixels
    indices: Indices
    bad: Indices
    number: int


class _Filler:
    """A thread that fills a few buffers in turn, ahead of their use, until it is told to stop.

    Args:
        cache: of the images.
        threads: at most, that decode those not yet in the cache, and change them.
        augment: random changes, or None.
        epoch: which the changes depend on.
    """

    def __init__(
        self,
        cache: ImageCache,
        threads: int,
        augment: Augmentation | None = None,
        epoch: int = 0,
    ) -> None:
        self._cache = cache
        self._threads = threads
        self._augment = augment
        self._crop = None if augment is None else augment.crop
        self._epoch = epoch
        self._free: SimpleQueue[Pixels | None] = SimpleQueue()
        self._ready: SimpleQueue[_Filled | Exception | None] = SimpleQueue()
        self._pool: Pool | None = None
        self._stopped = threading.Event()
        self._in_turn: Iterator[_Filled] | None = None  # where there is no thread

    def start(self, parts: Sequence[Indices], skip: int) -> None:
        """Begin behind the first `skip` parts; a buffer holds a part's images."""
        size = max(map(len, parts), default=0)
        shape = self._cache.pre.shape if self._crop is None else self._crop.shape
        for _ in range(BUFFERS):
            self._free.put(np.empty((size, *shape), self._cache.pre.dtype))
        if not start_thread(self._work, (parts, skip), "data-batches"):
            self._in_turn = self._filled(parts, skip)

    def take(self) -> _Filled | None:
        """Wait for the next buffer; None after the last.

        Raises:
            Exception: what ended the thread.
        """
        if self._in_turn is not None:
            return next(self._in_turn, None)
        filled = take(self._ready)
        if isinstance(filled, Exception):
            raise filled
        return filled

    def give(self, buffer: Pixels) -> None:
        """Have a taken buffer filled again."""
        self._free.put(buffer)

    def stop(self) -> None:
        """Let the threads end, after the image they are at; does not wait."""
        self._stopped.set()
        self._free.put(None)
        if self._in_turn is not None and self._pool is not None:
            self._pool.close()

    def _work(self, parts: Sequence[Indices], skip: int) -> None:
        try:
            for filled in self._filled(parts, skip):
                self._ready.put(filled)
            self._ready.put(None)
        except Exception as error:
            self._ready.put(error)
        finally:
            if self._pool is not None:
                self._pool.close()

    def _filled(self, parts: Sequence[Indices], skip: int) -> Iterator[_Filled]:
        for number in range(skip, len(parts)):
            buffer = self._free.get()
            if buffer is None or self._stopped.is_set():
                return
            yield self._fill(buffer, parts[number], number)

    def _fill(self, buffer: Pixels, indices: Indices, number: int) -> _Filled:
        if self._cache.mode == "none" or self._crop is not None:
            good = self._decode_into(buffer, indices)
        else:
            todo = self._cache.missing(indices)
            self._on_threads(len(todo), lambda k: self._decode(todo[k]))
            good = self._cache.readable(indices)
            if not self._stopped.is_set():
                self._cache.gather(indices[good], buffer[: np.count_nonzero(good)])
        if self._augment is not None:
            self._change(self._augment, buffer[: np.count_nonzero(good)], indices[good])
        return _Filled(buffer, indices[good], indices[~good], number)

    def _change(self, augment: Augmentation, images: Pixels, indices: Indices) -> None:
        """Change a batch in place, on this thread alone where its images are few and small."""
        blocks = augment.blocks(images)

        def change(k: int) -> None:
            augment(images[blocks[k]], indices[blocks[k]], self._epoch)

        if len(blocks) == 1:
            change(0)
        else:
            self._on_threads(len(blocks), change)

    def _decode_into(self, buffer: Pixels, indices: Indices) -> NDArray[np.bool_]:
        """Decode straight into the buffer, and close the gaps of bad images."""

        def decode(k: int) -> None:
            image = self._decode(indices[k])
            if image is not None:
                buffer[k] = self._cropped(image, int(indices[k]))

        self._on_threads(len(indices), decode)
        good = self._cache.readable(indices)
        if not good.all():
            for to, k in enumerate(np.flatnonzero(good)):
                buffer[to] = buffer[k]
        return good

    def _cropped(self, image: Pixels, i: int) -> Pixels:
        aspects = self._cache.aspects
        if self._crop is None or aspects is None:
            return image
        return self._crop(image, float(aspects[i]), i, self._epoch)

    def _decode(self, i: np.int64) -> Pixels | None:
        try:
            return self._cache.get(int(i))
        except ImageError:
            return None

    def _on_threads(self, count: int, call: Callable[[int], object]) -> None:
        """``call(k)`` for every k below `count`, on the threads of the pool."""
        if count == 0:
            return
        if self._pool is None:
            self._pool = Pool(self._cache.useful_threads(self._threads))
        numbers = iter(range(count))

        def work() -> None:
            for k in numbers:
                if self._stopped.is_set():
                    return
                call(k)

        self._pool.run(work)
