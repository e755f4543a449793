"""A cache of decoded images for later epochs, in memory or in an unnamed file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_cli.closing import Closing
from cnn_cli.data.decode import load_image, upright_size
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError, NoReaderError
from cnn_cli.data.image_store import CacheMode, ImageStore, LocalProcesses, open_store
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import UsageError

SMALL_FILE = 4096


class ImageCache(Closing):
    """Images of a list of paths, decoded on first use; created by `open`.

    Thread-safe. As a context manager it frees the memory.

    Attributes:
        mode: where decoded images are kept: `ram`, `disk` or `none`.
        nbytes: bytes when all images are decoded; 0 for `none`.
        paths: the image files.
        pre: size, channels and resize mode.
        bad: position and error of the images that could not be decoded so far.
        several: paths of files with more than one frame, of those decoded so far.
        aspects: (paths,) width / height of the image files decoded so far; None if not requested.
    """

    def __init__(
        self, paths: Sequence[str], pre: Preprocess, store: ImageStore, *, aspects: bool = False
    ) -> None:
        self.mode = store.kept
        self.paths = paths
        self.pre = pre
        self.bad: dict[int, ImageError] = {}
        self.several: set[str] = set()
        self.nbytes = 0 if store.images is None else store.images.nbytes
        self._store = store
        self._images = store.images
        self._filled = store.filled
        self.aspects = store.aspects if aspects else None

    @classmethod
    def open(
        cls,
        mode: CacheMode,
        paths: Sequence[str],
        pre: Preprocess,
        budget: int | None = None,
        folder: Path | None = None,
        *,
        aspects: bool = False,
        here: LocalProcesses | None = None,
    ) -> ImageCache:
        """Choose where to cache the images, and reserve the space.

        Args:
            mode: `auto` uses memory if the images fit the budget, else a file if they fit half of
                the free disk space, else nothing.
            paths: the image files.
            pre: size, channels and resize mode.
            budget: bytes of memory; by default half of the available memory for `auto`, all of it
                for `ram`.
            folder: where to put the file; by default the user's cache folder or a temporary folder.
                The file has no name, so it disappears with the process, however that ends.
            aspects: store the width / height of each image, which `pre` may squash.
            here: processes on this computer that share the cache; each image is decoded once.

        Raises:
            ConfigError: `ram` does not fit the budget.
            DataError: `disk` does not fit the disk.
        """
        store = open_store(mode, (len(paths), *pre.shape), pre.dtype, budget, folder, here)
        return cls(paths, pre, store, aspects=aspects)

    def __len__(self) -> int:
        return len(self.paths)

    def get(self, i: int) -> Pixels:
        """Return image `i` as (height, width, channels); read-only.

        Raises:
            ImageError: it cannot be decoded; it is added to `bad`.
            UsageError: the package that decodes it is not installed.
        """
        images = self._images
        if images is not None and self._filled[i]:
            kept: Pixels = images[i]
            return kept
        if i in self.bad:
            raise self.bad[i].unraised()
        try:
            image = load_image(self.paths[i], self.pre, on_frames=self.several.add)
        except NoReaderError as error:  # the image is intact, and others may have the same format
            raise UsageError(error.place, error.rule) from None
        except ImageError as error:
            self.bad[i] = error.unraised()
            raise
        if self.aspects is not None:
            size = upright_size(self.paths[i])
            self.aspects[i] = 1.0 if size is None else size[0] / size[1]
        if images is not None:
            images[i] = image
            self._filled[i] = True
        return image

    def errors(self) -> list[ImageError]:
        """Return what is wrong with the images in `bad`, in the order of their positions."""
        return [self.bad[i] for i in sorted(self.bad)]

    def missing(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of `indices` that `get` would have to decode."""
        return indices[~self._filled[indices] & self.readable(indices)]

    def readable(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (indices,) booleans: False for images known to be bad."""
        good = np.ones(len(indices), np.bool_)
        if self.bad:
            good[:] = [int(i) not in self.bad for i in indices]
        return good

    def gather(self, indices: NDArray[np.int64], out: Pixels) -> None:
        """Copy decoded images into `out`, (indices, height, width, channels); not for `none`."""
        if self._images is None:
            raise ValueError("a cache of mode none keeps no images")
        # In modes other than clip, NumPy buffers the output.
        np.take(self._images, indices, axis=0, out=out, mode="clip")

    def useful_threads(self, threads: int) -> int:
        """Return how many of `threads` are worth using for decoding.

        Python runs one thread at a time, and most of the 50 µs for an image of a few hundred bytes
        is spent in Python: 2 threads took 1.4 times as long as one, 4 threads twice as long.
        """
        sample = self.paths[:: max(1, len(self.paths) // 16)]
        sizes = sorted(os.path.getsize(path) for path in sample if os.path.isfile(path))
        return 1 if sizes and sizes[len(sizes) // 2] < SMALL_FILE else threads

    def close(self) -> None:
        """Free memory and file; from then on, images are decoded each time."""
        self.mode = "none"
        self._store.close()
        self._images, self._filled = None, self._store.filled
        self.aspects = None if self.aspects is None else self._store.aspects
