"""What a layer needs besides its input: memory, the current pass, and its node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.types import Array, Shape, Share, whole
from cnn_cli.structs import Struct

GRANULE = 4096
CACHE_LINE = 64


class Workspace:
    """One worker's memory: arrays that are taken and given back, and scratch arrays.

    `take` returns the block given back last, which is most likely in cache. After the first step,
    further steps with the same shapes allocate nothing. Not thread-safe: each worker has its own.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Array]] = defaultdict(list)
        self._owned: dict[int, Array] = {}  # by the id of the memory that is the `base` of views
        self._scratch: dict[str, Array] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held, in use or not."""
        blocks = [*self._owned.values(), *self._scratch.values()]
        return sum(block.nbytes for block in blocks)

    @property
    def in_use(self) -> int:
        """Number of blocks that are taken and not given back."""
        return len(self._owned) - sum(len(blocks) for blocks in self._free.values())

    def take(self, shape: Shape, dtype: DTypeLike) -> Array:
        """Return an uninitialized C-contiguous array, valid until `give`."""
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
        """Give back an array of `take`; neither it nor its views may be used afterwards."""
        block = self._owned[id(array.base)]
        self._free[block.nbytes].append(block)

    def trim(self) -> None:
        """Free unused memory, for arrays of other sizes."""
        for blocks in self._free.values():
            for block in blocks:
                del self._owned[id(block.base)]
        self._free.clear()

    def owns(self, array: Array) -> bool:
        """Whether `array` lies in memory from `take`."""
        return id(array.base) in self._owned

    def scratch(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """Return an uninitialized array, valid until the same name is requested again."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        block = self._scratch.get(name)
        if block is None or block.nbytes < nbytes:
            block = self._scratch[name] = _aligned(ceil_div(max(nbytes, 1), GRANULE) * GRANULE)
        return block[:nbytes].view(dtype).reshape(shape)


def _aligned(nbytes: int) -> Array:
    """Allocate bytes aligned to a cache line, so that vector loads never cross two."""
    raw = np.empty(nbytes + CACHE_LINE, np.uint8)
    address: int = raw.__array_interface__["data"][0]
    start = -address % CACHE_LINE
    return raw[start : start + nbytes]


NOTHING: Array = np.empty(0)


class RunContext(Struct):
    """The context of one chunk in one pass on one worker, the same for every layer.

    Attributes:
        workspace: the worker's memory.
        kernels: the kernels that layers call.
        dtype: dtype of activations and parameters.
        training: whether dropout is active.
        seed, step, offset: determine the chunk's random numbers; `offset` is the position of its
            first image in the batch.
        fresh: gradients are uninitialized: the first chunk of a step writes them, others add to
            them.
        need_saved: a backward pass follows.
        share: cuts a layer's work for those who have no chunk.
    """

    workspace: Workspace
    kernels: Kernels = NUMPY
    dtype: DTypeLike = np.float32
    training: bool = False
    seed: int = 0
    step: int = 0
    offset: int = 0
    fresh: bool = True
    need_saved: bool = True
    share: Share = whole

    def take(self, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """Return an array for an output, a saved value or an input gradient."""
        return self.workspace.take(shape, self.dtype if dtype is None else dtype)

    def scratch(self, name: str, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """Return an array for use within one call; arrays of one call need different names."""
        return self.workspace.scratch(name, shape, self.dtype if dtype is None else dtype)


class NodeContext(Struct):
    """The context of one node for one worker, the same in every pass.

    Attributes:
        index: position of the node in the network.
        params: the node's parameters by name, in the layer's layout.
        buffers: the node's running statistics by name.
        grads: this worker's gradient accumulators, shaped like `params`.
        prepared, prepared_grad: the prepared array and its gradient accumulator, if the layer has
            `prepared`.
        inplace: the node may overwrite its (first) input with its output.
        need_dx: the gradient of the node's input is needed.
        has_backward: backward passes include this node.
    """

    index: int = 0
    params: Mapping[str, Array] = {}
    buffers: Mapping[str, Array] = {}
    grads: Mapping[str, Array] = {}
    prepared: Array = NOTHING
    prepared_grad: Array = NOTHING
    inplace: bool = False
    need_dx: bool = True
    has_backward: bool = True

    def add_product(self, name: str, a: Array, b: Array, run: RunContext) -> None:
        """Add the matrix product ``a @ b`` to the gradient of parameter `name`."""
        grad = self.grads[name].reshape(a.shape[0], b.shape[1])
        if run.fresh:
            np.matmul(a, b, out=grad)
        else:
            grad += np.matmul(a, b, out=run.scratch("gradient", grad.shape))

    def add_row_sum(self, name: str, x: Array, run: RunContext) -> None:
        """Add the sum over all but the last axis of `x` to the gradient of parameter `name`."""
        rows = x.reshape(-1, x.shape[-1])
        ones = run.scratch("ones", (1, rows.shape[0]))
        ones.fill(1)
        self.add_product(name, ones, rows, run)
