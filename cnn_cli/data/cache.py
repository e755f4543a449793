"""Decoded images kept for later epochs, in memory or in a file without a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.decode import (
    ImageError,
    NoReaderError,
    Preprocess,
    load_image,
    upright_size,
)
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_store import CacheMode, ImageStore, Neighbours, open_store
from cnn_cli.errors import UsageError

SMALL_FILE = 4096


class ImageCache:
    """Images of one list of paths, decoded when first asked for; `open` makes one.

    Safe to use from several threads. A context manager that gives the memory back.

    Attributes:
        mode: `ram`, `disk` or `none`: where decoded images are kept.
        nbytes: what they take when all are decoded; 0 for `none`.
        paths: of the image files.
        pre: size, channels and resize mode.
        bad: position and error of the images that could not be decoded so far.
        several: paths of files with more frames than the first, of those decoded so far.
        aspects: (paths,) width / height of the image files, of those that were decoded so far;
            None where nobody asked for them.
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
        here: Neighbours | None = None,
    ) -> ImageCache:
        """Choose where to keep the images, and make room.

        Args:
            mode: `auto` takes memory where it fits the budget, else a file where that fits half
                of what is free, else keeps nothing; the others are as they say.
            paths: of the image files.
            pre: size, channels and resize mode.
            budget: bytes of memory; half of what is available for `auto`, all of it for `ram`.
            folder: where the file goes; the user's cache or a temporary folder. It has no name
                there: it is gone with the process, however that ends.
            aspects: remember each image's width / height, which `pre` may squash.
            here: processes of this computer that keep the same images; each is decoded by
                whichever needs it first.

        Raises:
            ConfigError: `ram` does not fit the budget.
            DataError: `disk` does not fit the disk.
        """
        store = open_store(mode, (len(paths), *pre.shape), pre.dtype, budget, folder, here)
        return cls(paths, pre, store, aspects=aspects)

    def __len__(self) -> int:
        return len(self.paths)

    def get(self, i: int) -> Pixels:
        """Image `i` as (height, width, channels), not to be written to.

        Raises:
            ImageError: it cannot be decoded; `bad` lists it from then on.
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
        except NoReaderError as error:  # the image is good, and may be one of many
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

    def missing(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `indices` that `get` would have to decode."""
        return indices[~self._filled[indices] & self.readable(indices)]

    def readable(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(indices,) booleans: those not known to be bad."""
        good = np.ones(len(indices), np.bool_)
        if self.bad:
            good[:] = [int(i) not in self.bad for i in indices]
        return good

    def gather(self, indices: NDArray[np.int64], out: Pixels) -> None:
        """Copy decoded images into `out`, (indices, height, width, channels); not for `none`."""
        if self._images is None:
            raise ValueError("a cache of mode none keeps no images")
        # Other modes than clip have NumPy buffer the output.
        np.take(self._images, indices, axis=0, out=out, mode="clip")

    def useful_threads(self, threads: int) -> int:
        """How many of `threads` decode faster than one.

        Python lets one thread run at a time, and of the 50 µs that an image of a few hundred
        bytes takes most is Python: measured, 2 threads took 1.4 times as long as one, 4 twice.
        """
        sample = self.paths[:: max(1, len(self.paths) // 16)]
        sizes = sorted(os.path.getsize(path) for path in sample if os.path.isfile(path))
        return 1 if sizes and sizes[len(sizes) // 2] < SMALL_FILE else threads

    def close(self) -> None:
        """Give back memory and file; afterwards images are decoded each time."""
        self.mode = "none"
        self._store.close()
        self._images, self._filled = None, self._store.filled
        self.aspects = None if self.aspects is None else self._store.aspects

    def __enter__(self) -> ImageCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
