"""Memory a worker reuses: fresh large arrays cost page faults at every step."""

from __future__ import annotations

from collections import defaultdict
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.types import Array, Shape

GRANULE = 4096
CACHE_LINE = 64


class Workspace:
    """One worker's arrays, taken and given back, and its scratch.

    `take` returns the block given back last, which is the one most likely in cache. After a
    first step has taken what it needs, a second one of the same shapes allocates nothing.
    Not thread-safe: a worker uses its own.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Array]] = defaultdict(list)
        self._owned: dict[int, Array] = {}  # by the id of the memory that views have as `base`
        self._scratch: dict[str, Array] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held, in use or not."""
        blocks = [*self._owned.values(), *self._scratch.values()]
        return sum(block.nbytes for block in blocks)

    @property
    def in_use(self) -> int:
        """How many blocks are taken and not given back."""
        return len(self._owned) - sum(len(blocks) for blocks in self._free.values())

    def take(self, shape: Shape, dtype: DTypeLike) -> Array:
        """An uninitialized C-contiguous array that is the caller's until `give`."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        size = ceil_div(max(nbytes, 1), GRANULE) * GRANULE
        free = self._free[size]
        if free:
            block = free.pop()
        else:
            block = _aligned(size)
            self._owned[id(block.base)] = block
        return block[:nbytes].view(dtype).reshape(shape)

    def give(self, array: Array) -> None:
        """Take back an array of `take`; it and its views must no longer be used."""
        block = self._owned[id(array.base)]
        self._free[block.nbytes].append(block)

    def owns(self, array: Array) -> bool:
        """Whether `array` lies in memory of `take`."""
        return id(array.base) in self._owned

    def scratch(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """An uninitialized array that is the caller's until the same name is asked for again."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        block = self._scratch.get(name)
        if block is None or block.nbytes < nbytes:
            block = self._scratch[name] = _aligned(ceil_div(max(nbytes, 1), GRANULE) * GRANULE)
        return block[:nbytes].view(dtype).reshape(shape)


def _aligned(nbytes: int) -> Array:
    """Bytes that start on a cache line, so that vector loads never straddle two."""
    raw = np.empty(nbytes + CACHE_LINE, np.uint8)
    address: int = raw.__array_interface__["data"][0]
    start = -address % CACHE_LINE
    return raw[start : start + nbytes]
