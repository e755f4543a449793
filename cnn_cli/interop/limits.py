"""What a foreign file may take and where it may lead: asked before memory is taken for it.

A few kilobytes can promise gigabytes: compressed or missing chunks, one array named a hundred
times. All readers ask one `Budget`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np

from cnn_cli.errors import DataError, reason, size_text
from cnn_cli.nn.types import Array
from cnn_cli.system import available_memory

MOST_TIMES = 32  # as much as a file's own bytes: half precision, quantized or compressed weights
ROOM = 256 * 2**20  # bytes that even the smallest file may take


class Budget:
    """The bytes that a file's arrays may take in all.

    Args:
        path: the file, which exists.

    Raises:
        DataError: its size cannot be told.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = _file_size(path, path)
        self.taken = 0
        self._memory = available_memory()
        self._others: set[Path] = set()

    def take(self, nbytes: int) -> None:
        """Count bytes that are about to be taken.

        Raises:
            DataError: with them it is more than the file accounts for, or than there is.
        """
        self.taken += nbytes
        if self.taken > max(MOST_TIMES * self.size, ROOM):
            rule = f"must not unpack to more than {MOST_TIMES} times its size"
            raise DataError(self.path, rule, f"{size_text(self.taken)} of {size_text(self.size)}")
        if self.taken > self._memory:
            have = size_text(self._memory)
            raise DataError(self.path, "must fit into memory", f"{size_text(self.taken)} of {have}")

    def take_array(self, shape: Iterable[int], itemsize: int) -> None:
        """Count an array's bytes, likewise."""
        self.take(prod(int(length) for length in shape) * itemsize)

    def file_beside(self, name: str) -> Path:
        """Another file, in the same folder, that holds some of the arrays.

        Links are followed where they end beside what this file itself is a link to, as in a cache
        of Hugging Face. Nobody's files become weights because an archive held a link to them.

        Raises:
            DataError: it lies elsewhere, or is no file.
        """
        path = self.path.parent / name
        try:
            here = {os.path.realpath(self.path.parent), _real_folder(self.path)}
            beside = _real_folder(path) in here
        except ValueError:  # no name of a file
            beside = False
        if not beside:
            raise DataError(self.path, "shards must lie beside it", path)
        size = _file_size(path, path)
        if path not in self._others:
            self._others.add(path)
            self.size += size
        return path


def _real_folder(path: Path) -> str:
    """Where a file lies, once its links are followed."""
    return os.path.dirname(os.path.realpath(path))


def _file_size(path: Path, place: Path) -> int:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise DataError(place, "cannot be read", reason(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(place, "must be a regular file")
    return found.st_size


def not_read(path: Path, name: str, dtype: object) -> DataError:
    """The error for numbers such as 8-bit floats."""
    return DataError(path, "has numbers of an unsupported type", f"{dtype} in {name}")


def widened(bits: Array) -> Array:
    """float32 of bfloat16, which NumPy lacks; its bits are the upper half of a float32's.

    Args:
        bits: uint16.
    """
    wide: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return wide
