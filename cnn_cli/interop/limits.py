"""Limits on memory and paths for untrusted files, checked before memory is allocated.

A few kilobytes can claim gigabytes: compressed or missing chunks, or one array named a hundred
times. All readers share one `Budget`.
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

MOST_TIMES = 32  # multiple of the file's size: half precision, quantized or compressed weights
ROOM = 256 * 2**20  # bytes allowed for even the smallest file
MOST_TEXT = 10_000_000  # bytes of a description in JSON, or of a list of names


class Budget:
    """The bytes that all arrays of a file may take.

    Args:
        path: the file, which exists.

    Raises:
        DataError: its size cannot be determined.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = _file_size(path, path)
        self.taken = 0
        self._memory = available_memory()
        self._others: set[Path] = set()

    def take(self, nbytes: int) -> None:
        """Count bytes that are about to be allocated.

        Raises:
            DataError: the total exceeds what the file accounts for, or the available memory.
        """
        self.taken += nbytes
        if self.taken > max(MOST_TIMES * self.size, ROOM):
            rule = f"must not unpack to more than {MOST_TIMES} times its size"
            raise DataError(self.path, rule, f"{size_text(self.taken)} of {size_text(self.size)}")
        if self.taken > self._memory:
            have = size_text(self._memory)
            raise DataError(self.path, "must fit into memory", f"{size_text(self.taken)} of {have}")

    def take_array(self, shape: Iterable[int], itemsize: int) -> None:
        """Count an array's bytes in the same way."""
        self.take(prod(int(length) for length in shape) * itemsize)

    def file_beside(self, name: str) -> Path:
        """Return another file in the same folder that contains some of the arrays.

        Links are followed if they end beside the target of this file's own link, as in a Hugging
        Face cache. Links to other folders are refused, so that an archive cannot make private files
        look like weights.

        Raises:
            DataError: it lies elsewhere, or is not a file.
        """
        path = self.path.parent / name
        try:
            here = {os.path.realpath(self.path.parent), _real_folder(self.path)}
            beside = _real_folder(path) in here
        except ValueError:  # not a valid file name
            beside = False
        if not beside:
            raise DataError(self.path, "shards must lie beside it", path)
        size = _file_size(path, path)
        if path not in self._others:
            self._others.add(path)
            self.size += size
        return path


def _real_folder(path: Path) -> str:
    """Return the folder of a file, with links resolved."""
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
    """Return the error for unsupported dtypes, such as 8-bit floats."""
    return DataError(path, "has numbers of an unsupported type", f"{dtype} in {name}")


def widened(bits: Array) -> Array:
    """Convert bfloat16, which NumPy lacks, to float32; its bits are the upper half of a float32's.

    Args:
        bits: uint16.
    """
    wide: Array = (bits.astype(np.uint32) << 16).view(np.float32)
    return wide
