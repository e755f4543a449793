"""The thread that fills buffers with images ahead of their use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import ImageError, Pixels
from cnn_cli.data.pool import Pool

if TYPE_CHECKING:  # prediction decodes without what augmentation needs
    from cnn_cli.data.augment import Augmentation

Indices = NDArray[np.int64]

BUFFERS = 4  # one with the network, one being filled, two ready


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A buffer whose first images are those of `indices`.

    Attributes:
        buffer: (size, height, width, channels) bytes.
        indices: positions of the images in it.
        bad: positions of those that could not be decoded, in their order.
        number: which part it is.
    """

    buffer: Pixels
    indices: Indices
    bad: Indices
    number: int


class Filler:
    """Fills a few buffers in turn, in a thread of its own, until told to stop.

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
        self._ready: SimpleQueue[Filled | Exception | None] = SimpleQueue()
        self._pool: Pool | None = None
        self._stopped = threading.Event()

    def start(self, parts: Sequence[Indices], start: int) -> None:
        """Begin with the part at position `start`; a buffer holds a part's images."""
        size = max(map(len, parts), default=0)
        shape = self._cache.pre.shape if self._crop is None else self._crop.shape
        for _ in range(BUFFERS):
            self._free.put(np.empty((size, *shape), np.uint8))
        threading.Thread(
            target=self._work, args=(parts, start), name="data-batches", daemon=True
        ).start()

    def take(self) -> Filled | None:
        """Wait for the next buffer; None after the last.

        Raises:
            Exception: what ended the thread.
        """
        filled = self._ready.get()
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

    def _work(self, parts: Sequence[Indices], start: int) -> None:
        try:
            for number in range(start, len(parts)):
                buffer = self._free.get()
                if buffer is None or self._stopped.is_set():
                    return
                self._ready.put(self._fill(buffer, parts[number], number))
            self._ready.put(None)
        except Exception as error:
            self._ready.put(error)
        finally:
            if self._pool is not None:
                self._pool.close()

    def _fill(self, buffer: Pixels, indices: Indices, number: int) -> Filled:
        if self._cache.mode == "none" or self._crop is not None:
            good = self._decode_into(buffer, indices)
        else:
            todo = self._cache.missing(indices)
            self._share(len(todo), lambda k: self._decode(todo[k]))
            good = self._cache.readable(indices)
            if not self._stopped.is_set():
                self._cache.gather(indices[good], buffer[: np.count_nonzero(good)])
        if self._augment is not None:
            self._change(self._augment, buffer[: np.count_nonzero(good)], indices[good])
        return Filled(buffer, indices[good], indices[~good], number)

    def _change(self, augment: Augmentation, images: Pixels, indices: Indices) -> None:
        """Change a batch in place, on this thread alone where its images are few and small."""
        blocks = augment.blocks(images)

        def change(k: int) -> None:
            augment(images[blocks[k]], indices[blocks[k]], self._epoch)

        if len(blocks) == 1:
            change(0)
        else:
            self._share(len(blocks), change)

    def _decode_into(self, buffer: Pixels, indices: Indices) -> NDArray[np.bool_]:
        """Decode straight into the buffer, and close the gaps of bad images."""

        def decode(k: int) -> None:
            image = self._decode(indices[k])
            if image is not None:
                buffer[k] = self._cropped(image, int(indices[k]))

        self._share(len(indices), decode)
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

    def _share(self, count: int, call: Callable[[int], object]) -> None:
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
