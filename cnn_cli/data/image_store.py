"""Storage of decoded images: in memory or in an unnamed file, for one process or several.

Processes on one computer that use the same images share one copy. The first process keeps the
mapped file open; the others find it in Linux's ``/proc``.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.depth import Pixels
from cnn_cli.errors import ConfigError, DataError, reason, size_text
from cnn_cli.portable import can_share_memory, path_for_others, reserve, shared_memory
from cnn_cli.system import available_memory, in_memory, user_cache_folder

T = TypeVar("T")
Kept = Literal["ram", "disk", "none"]
CacheMode = Literal["auto", "ram", "disk", "none"]
Shape = tuple[int, ...]


class LocalProcesses(Protocol):
    """The processes of one computer, which all open the same stores in the same order.

    Attributes:
        neighbors: number of processes, including this one.
    """

    neighbors: int

    def first_here(self, make: Callable[[], T]) -> T:
        """Call `make` on the first of them only, and return its result on all."""


class ImageStore:
    """Arrays for images.

    Args:
        kept: where they are; with `none` there are no `images`.
        shape: (n, height, width, channels).
        dtype: dtype of the images.
        file: the mapped file; None if the arrays belong to this process.
        hold: keep the file open, so that the other processes find it.
        fresh: it is new and empty.

    Attributes:
        images: array of that shape, or None.
        aspects: (n,) width / height of the image files.
        filled: (n,) whether each image is stored.
    """

    def __init__(
        self,
        kept: Kept,
        shape: Shape,
        dtype: DTypeLike,
        file: BinaryIO | None,
        *,
        hold: bool = False,
        fresh: bool = True,
    ) -> None:
        self.kept = kept
        self._file = file
        n, nbytes = shape[0], size_of(shape if kept != "none" else (shape[0], 0), dtype)
        if file is None:
            buffer = np.empty(nbytes, np.uint8)
        else:
            buffer = np.frombuffer(mmap.mmap(file.fileno(), nbytes), np.uint8)
        self.aspects = buffer[: 8 * n].view(np.float64)
        self.filled = buffer[8 * n : 9 * n].view(np.bool_)
        self.images: Pixels | None = None
        if kept != "none":
            self.images = buffer[_images_start(n, dtype) :].view(dtype).reshape(shape)
        if fresh:
            self.aspects[:], self.filled[:] = 1, False
        if file is not None and not hold:
            file.close()  # the map keeps its own descriptor

    def close(self) -> None:
        """Unmap the arrays; when all processes have, the file is gone."""
        n = len(self.filled)
        self.images, self.aspects, self.filled = None, np.ones(n), np.zeros(n, np.bool_)
        if self._file is not None:
            self._file.close()


def size_of(shape: Shape, dtype: DTypeLike) -> int:
    """Return the bytes of a store for images of that shape and dtype."""
    return _images_start(shape[0], dtype) + _images_size(shape, dtype)


def _images_start(n: int, dtype: DTypeLike) -> int:
    """Return the offset of the images in a store: after the other arrays, aligned to their
    dtype.
    """
    itemsize = np.dtype(dtype).itemsize
    return ceil_div(9 * n, itemsize) * itemsize


def _images_size(shape: Shape, dtype: DTypeLike) -> int:
    return prod(shape) * np.dtype(dtype).itemsize


def open_store(
    mode: CacheMode,
    shape: Shape,
    dtype: DTypeLike,
    budget: int | None = None,
    folder: Path | None = None,
    here: LocalProcesses | None = None,
) -> ImageStore:
    """Choose where to store images, and open the store; see `cache.ImageCache.open`.

    Args:
        shape: (n, height, width, channels).
        dtype: dtype of the images.
        here: the processes that share it.
    """
    alone = here is None or here.neighbors == 1
    if here is None or alone or not prod(shape) or not can_share_memory():
        kept, file = _choose(mode, shape, dtype, budget, folder)
        return ImageStore(kept, shape, dtype, file)
    own: list[ImageStore] = []

    def make() -> tuple[Kept, str]:
        kept, file = _choose(mode, shape, dtype, budget, folder)
        if kept == "ram":
            file = shared_memory("cnn-images")
            file.truncate(size_of(shape, dtype))
        own.append(ImageStore(kept, shape, dtype, file, hold=True))
        return kept, "" if file is None else path_for_others(file.fileno())

    kept, path = here.first_here(make)
    if own:
        return own[0]
    try:
        file = open(path, "r+b") if path else None  # noqa: SIM115 - the store's
        return ImageStore(kept, shape, dtype, file, fresh=not path)
    except OSError:  # for example in another container: this process keeps its own copy
        part = (available_memory() // 2 if budget is None else budget) // here.neighbors
        return open_store("auto", shape, dtype, part, folder)


def _choose(
    mode: CacheMode, shape: Shape, dtype: DTypeLike, budget: int | None, folder: Path | None
) -> tuple[Kept, BinaryIO | None]:
    """Choose where to store images, and return the file if that is on disk."""
    need = _images_size(shape, dtype)
    if mode in ("auto", "ram"):
        if budget is None:
            budget = available_memory() // (2 if mode == "auto" else 1)
        if need <= budget:
            return "ram", None
        if mode == "ram":
            rule = "must be auto, disk or none if decoded images do not fit in memory"
            got = f"ram, which takes {size_text(need)} of {size_text(budget)}"
            raise ConfigError("data.cache", rule, got)
    if mode != "none" and need:
        file = _on_disk(shape, dtype, folder, forced=mode == "disk")
        if file is not None:
            return "disk", file
    return "none", None


def _on_disk(shape: Shape, dtype: DTypeLike, folder: Path | None, forced: bool) -> BinaryIO | None:
    """Create an unnamed file for images of that shape; None if there is no room."""
    need = _images_size(shape, dtype)
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
            prefix = "cnn-images-"
            file: Any = tempfile.TemporaryFile(dir=place, prefix=prefix)  # noqa: SIM115 - the store's
            try:
                reserve(file.fileno(), size_of(shape, dtype))
            except OSError:
                file.close()
                raise
            opened: BinaryIO = file
            return opened
        except OSError as error:
            problem = f"{place}: {reason(error)}"
    if forced:
        raise DataError(
            "data.cache", "must be auto or none if the disk has too little space", problem
        )
    return None


def _places() -> list[Path]:
    places = [user_cache_folder()]
    with suppress(OSError):  # not writable
        places.append(Path(tempfile.gettempdir()))
    return [*places, Path("/var/tmp")]
