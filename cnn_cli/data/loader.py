"""Batches of decoded images, prepared while the network processes the previous batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Indices, Split
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.reading_threads import Pool, take
from cnn_cli.data.resize import shrink
from cnn_cli.data.targets import Labels
from cnn_cli.threads import start_thread

if TYPE_CHECKING:  # evaluation does not need augmentation
    from cnn_cli.data.augment import Augmentation


BUFFERS = 4  # one in the network, one being filled, two ready


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images for one step, valid until the next batch is requested.

    Attributes:
        images: (n, height, width, channels), with the dtype of `data.depth`.
        labels: labels of the images, see `targets`.
        indices: (n,) positions in the split.
        number: number of the batch in the order, counting batches that were left out.
    """

    images: Pixels
    labels: Labels
    indices: Indices
    number: int

    def __len__(self) -> int:
        return len(self.labels)


class Loader:
    """Batches of a split in any order.

    Which images form a batch depends only on their position in the order, not on how fast they are
    read or which of them are bad.

    Attributes:
        augment: random changes to the images, or None.
        image_size: height and width to which images are shrunk afterwards, see
            `progressive_resizing`; None for those of the cache.
        bad: path and problem of the images left out so far.
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
        self.image_size: tuple[int, int] | None = None
        self.bad: dict[str, str] = {}

    def batches(self, order: Indices, skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``order[skip * batch_size:]``; a batch of bad images only is left
        out.

        Closing or dropping the iterator ends its threads.

        Args:
            order: positions in the split; repetitions are allowed.
            skip: number of batches to skip.
            epoch: determines the random changes.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        order, size = np.asarray(order, np.int64), self.batch_size
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        return (batch for batch in self.parts(parts, skip, epoch) if len(batch))

    def parts(self, parts: Sequence[Indices], skip: int = 0, epoch: int = 0) -> Iterator[Batch]:
        """Yield the images at given positions, part by part; an empty part, or one of bad images
        only, gives an empty batch.

        Args:
            parts: positions in the split.
            skip: number of parts to skip.
            epoch: determines the random changes.

        Raises:
            ImageError: an image is bad and `on_corrupt` is `error`.
        """
        filler = _Filler(self.cache, self.threads, self.augment, epoch, self.image_size)
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
        buffer: (size, height, width, channels), with the dtype of `data.depth`.
        indices: positions of the images in it.
        bad: positions of images that could not be decoded, in order.
        number: number of the part.
    """

    buffer: Pixels
    indices: Indices
    bad: Indices
    number: int


class _Filler:
    """A thread that fills a few buffers in turn, ahead of their use, until it is stopped.

    Args:
        cache: the cache of the images.
        threads: the largest number of threads that decode uncached images and augment.
        augment: random changes, or None.
        epoch: determines the random changes.
        image_size: `Loader.image_size`.
    """

    def __init__(
        self,
        cache: ImageCache,
        threads: int,
        augment: Augmentation | None = None,
        epoch: int = 0,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        self._cache = cache
        self._threads = threads
        self._augment = augment
        self._crop = None if augment is None else augment.crop
        self._epoch = epoch
        self._image_size = image_size
        self._whole: Pixels | None = None  # images that are shrunk into a buffer
        self._free: SimpleQueue[Pixels | None] = SimpleQueue()
        self._ready: SimpleQueue[_Filled | Exception | None] = SimpleQueue()
        self._pool: Pool | None = None
        self._stopped = threading.Event()
        self._in_turn: Iterator[_Filled] | None = None  # used if no thread can be started

    def start(self, parts: Sequence[Indices], skip: int) -> None:
        """Start after the first `skip` parts; a buffer holds the images of one part."""
        size = max(map(len, parts), default=0)
        shape = self._cache.pre.shape if self._crop is None else self._crop.shape
        dtype = self._cache.pre.dtype
        if self._image_size not in (None, shape[:2]):
            self._whole = np.empty((size, *shape), dtype)
            shape = (*self._image_size, shape[2])
        for _ in range(BUFFERS):
            self._free.put(np.empty((size, *shape), dtype))
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
        """Return a buffer to be filled again."""
        self._free.put(buffer)

    def stop(self) -> None:
        """Make the threads end after their current image, without waiting."""
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
        if self._whole is None:
            good = self._read(buffer, indices)
        else:
            good = self._read(self._whole, indices)
            self._shrink(self._whole[: np.count_nonzero(good)], buffer)
        return _Filled(buffer, indices[good], indices[~good], number)

    def _read(self, buffer: Pixels, indices: Indices) -> NDArray[np.bool_]:
        """Write the images, augmented, to the buffer; return which could be read."""
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
        return good

    def _shrink(self, images: Pixels, buffer: Pixels) -> None:
        """Write images to the buffer, in its size."""
        _, height, width, _ = buffer.shape

        def write(k: int) -> None:
            buffer[k] = shrink(images[k], (height, width))

        self._on_threads(len(images), write)

    def _change(self, augment: Augmentation, images: Pixels, indices: Indices) -> None:
        """Augment a batch in place, on this thread alone if its images are few and small."""
        blocks = augment.blocks(images)

        def change(k: int) -> None:
            augment(images[blocks[k]], indices[blocks[k]], self._epoch)

        if len(blocks) == 1:
            change(0)
        else:
            self._on_threads(len(blocks), change)

    def _decode_into(self, buffer: Pixels, indices: Indices) -> NDArray[np.bool_]:
        """Decode into the buffer, and close the gaps left by bad images."""

        write = self._writer(buffer, indices)

        def decode(k: int) -> None:
            image = self._decode(indices[k])
            if image is not None:
                write(k, image)

        self._on_threads(len(indices), decode)
        good = self._cache.readable(indices)
        if not good.all():
            for to, k in enumerate(np.flatnonzero(good)):
                buffer[to] = buffer[k]
        return good

    def _writer(self, buffer: Pixels, indices: Indices) -> Callable[[int, Pixels], None]:
        """Return what writes the image of `indices[k]`, cropped, to `buffer[k]`."""
        augment, crop, epoch = self._augment, self._crop, self._epoch
        if augment is None or crop is None or self._cache.aspects is None:
            return buffer.__setitem__
        mirrored = augment.mirrored(indices, epoch).tolist()

        def write(k: int, image: Pixels) -> None:
            i, aspects = int(indices[k]), self._cache.aspects
            aspect = 1.0 if aspects is None else float(aspects[i])
            crop(image, aspect, i, epoch, buffer[k], mirror=mirrored[k])

        return write

    def _decode(self, i: np.int64) -> Pixels | None:
        try:
            return self._cache.get(int(i))
        except ImageError:
            return None

    def _on_threads(self, count: int, call: Callable[[int], object]) -> None:
        """Call ``call(k)`` for every k below `count` on the pool's threads."""
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
