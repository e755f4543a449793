"""Decoded images kept for later epochs, in memory or in a file without a name."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.decode import ImageError, Pixels, Preprocess, load_image, upright_size
from cnn_cli.errors import ConfigError, DataError, reason, size_text
from cnn_cli.system import available_memory, in_memory, user_cache_folder

SMALL_FILE = 4096

Kept = Literal["ram", "disk", "none"]
Mode = Literal["auto", "ram", "disk", "none"]


class ImageCache:
    """Images of one list of paths, decoded when first asked for; `open` makes one.

    Safe to use from several threads. A context manager that gives the memory back.

    Attributes:
        mode: `ram`, `disk` or `none`: where decoded images are kept.
        nbytes: what they take when all are decoded; 0 for `none`.
        paths: of the image files.
        pre: size, channels and resize mode.
        bad: position and error of the images that could not be decoded so far.
        aspects: (paths,) width / height of the image files, of those that were decoded so far;
            None where nobody asked for them.
    """

    def __init__(
        self,
        mode: Kept,
        paths: Sequence[str],
        pre: Preprocess,
        images: Pixels | None,
        *,
        aspects: bool = False,
    ) -> None:
        self.mode = mode
        self.paths = paths
        self.pre = pre
        self.bad: dict[int, ImageError] = {}
        self.nbytes = 0 if images is None else images.nbytes
        self._images = images
        self._filled = np.zeros(len(paths), np.bool_)
        self.aspects = np.ones(len(paths)) if aspects else None

    @classmethod
    def open(
        cls,
        mode: Mode,
        paths: Sequence[str],
        pre: Preprocess,
        budget: int | None = None,
        folder: Path | None = None,
        *,
        aspects: bool = False,
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

        Raises:
            ConfigError: `ram` does not fit the budget.
            DataError: `disk` does not fit the disk.
        """
        shape = (len(paths), *pre.shape)
        need = prod(shape)
        if mode in ("auto", "ram"):
            if budget is None:
                budget = available_memory() // (2 if mode == "auto" else 1)
            if need <= budget:
                return cls("ram", paths, pre, np.empty(shape, np.uint8), aspects=aspects)
            if mode == "ram":
                rule = "must be auto, disk or none where decoded images do not fit in memory"
                got = f"ram, which takes {size_text(need)} of {size_text(budget)}"
                raise ConfigError("data.cache", rule, got)
        if mode != "none" and need:
            images = _on_disk(shape, folder, forced=mode == "disk")
            if images is not None:
                return cls("disk", paths, pre, images, aspects=aspects)
        return cls("none", paths, pre, None, aspects=aspects)

    def __len__(self) -> int:
        return len(self.paths)

    def get(self, i: int) -> Pixels:
        """Image `i` as (height, width, channels), not to be written to.

        Raises:
            ImageError: it cannot be decoded; `bad` lists it from then on.
        """
        images = self._images
        if images is not None and self._filled[i]:
            kept: Pixels = images[i]
            return kept
        if i in self.bad:
            raise _again(self.bad[i])
        try:
            image = load_image(self.paths[i], self.pre)
        except ImageError as error:
            self.bad[i] = _again(error)
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
        assert self._images is not None
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
        self._images = None
        self._filled[:] = False

    def __enter__(self) -> ImageCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _again(error: ImageError) -> ImageError:
    """The same error without its traceback, which would keep the image alive."""
    return ImageError(error.place, error.rule, error.got)


def _on_disk(shape: tuple[int, ...], folder: Path | None, forced: bool) -> Pixels | None:
    """An array in a nameless file, or None where there is no room for it."""
    need = prod(shape)
    places = _places() if folder is None else [folder]
    problem = "no folder that can be written"
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(place).free
            if need > free // (1 if forced else 2):
                problem = f"{size_text(free)} free in {place} and {size_text(need)} needed"
                continue
            if not forced and in_memory(place):
                continue
            with tempfile.TemporaryFile(dir=place, prefix="cnn-images-") as file:
                _reserve(file.fileno(), need)
                buffer = mmap.mmap(file.fileno(), need)
            return np.frombuffer(buffer, np.uint8).reshape(shape)
        except OSError as error:
            problem = f"{place}: {reason(error)}"
    if forced:
        raise DataError("data.cache", "must be auto or none where the disk has no room", problem)
    return None


def _places() -> list[Path]:
    return [user_cache_folder(), Path(tempfile.gettempdir()), Path("/var/tmp")]


def _reserve(file: int, nbytes: int) -> None:
    """Make the file `nbytes` long and its blocks its own: a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, nbytes)
    else:  # macOS
        os.ftruncate(file, nbytes)
