"""What a layer needs to know about the chunk it works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.nn.kernels.backend import NUMPY, Kernels
from cnn_cli.nn.types import Array, Shape
from cnn_cli.nn.workspace import Workspace


@dataclass(slots=True)
class Context:
    """One chunk, on one worker; the engine points it at each node in turn.

    Attributes:
        workspace: the worker's memory.
        training: dropout drops and batchnorm uses the batch's statistics.
        seed, step, start: place of the chunk for random numbers; `start` is the position of
            its first image in the batch.
        dtype: of activations and parameters.
        kernels: what layers compute with.
        layer_index: position of the node in the network.
        params: the node's parameters by name, in the layer's own layout.
        buffers: the node's running statistics by name.
        grads: this worker's gradient accumulators, shaped like `params`.
        prepared, prepared_grad: where the layer has `prepared`: the array, and the accumulator of
            its gradient.
        fresh: the accumulators hold nothing yet: the first chunk of a step writes, others add.
        need_saved: whether a backward pass follows.
        need_dx: whether anybody reads the gradient of the node's input.
        inplace: the node may write its output over its (first) input.
        statistics: of the whole batch, for a batch layer in training.
        sums: of the whole batch, for a batch layer's backward.
        worker_grads, worker_prepared_grads: `grads` and `prepared_grad` of every node.
    """

    workspace: Workspace
    training: bool = False
    seed: int = 0
    step: int = 0
    start: int = 0
    dtype: DTypeLike = np.float32
    kernels: Kernels = NUMPY
    layer_index: int = 0
    params: dict[str, Array] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)
    prepared: Array | None = None
    prepared_grad: Array | None = None
    fresh: bool = True
    need_saved: bool = True
    need_dx: bool = True
    inplace: bool = False
    worker_grads: list[dict[str, Array]] | None = None
    worker_prepared_grads: dict[int, Array] | None = None
    sums: Any = None
    statistics: Any = None

    def take(self, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """An array to return (an output, something saved, an input gradient)."""
        return self.workspace.take(shape, self.dtype if dtype is None else dtype)

    def scratch(self, name: str, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """An array for use inside one call; two of one call need different names."""
        return self.workspace.scratch(name, shape, self.dtype if dtype is None else dtype)

    def add_product(self, name: str, a: Array, b: Array) -> None:
        """Add the matrix product ``a @ b`` to the gradient of parameter `name`."""
        grad = self.grads[name].reshape(a.shape[0], b.shape[1])
        if self.fresh:
            np.matmul(a, b, out=grad)
        else:
            grad += np.matmul(a, b, out=self.scratch("gradient", grad.shape))

    def add_row_sum(self, name: str, x: Array) -> None:
        """Add the sum over all but the last axis of `x` to the gradient of parameter `name`."""
        rows = x.reshape(-1, x.shape[-1])
        ones = self.scratch("ones", (1, rows.shape[0]))
        ones.fill(1)
        self.add_product(name, ones, rows)
