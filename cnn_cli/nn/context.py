"""What a layer needs to know besides its input: of the pass, and of its place in the network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.nn.kernels.backend import NUMPY, Kernels
from cnn_cli.nn.types import Array, Shape
from cnn_cli.nn.workspace import Workspace

NOTHING: Array = np.empty(0)


@dataclass(frozen=True, slots=True)
class RunContext:
    """One chunk in one pass, on one worker: the same for every layer.

    Attributes:
        workspace: the worker's memory.
        kernels: what layers compute with.
        dtype: of activations and parameters.
        training: dropout drops.
        seed, step, offset: place of the chunk for random numbers; `offset` is the position of its
            first image in the batch.
        fresh: gradients hold nothing yet: the first chunk of a step writes them, others add.
        need_saved: a backward pass follows.
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

    def take(self, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """An array to return (an output, something saved, an input gradient)."""
        return self.workspace.take(shape, self.dtype if dtype is None else dtype)

    def scratch(self, name: str, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """An array for use inside one call; two of one call need different names."""
        return self.workspace.scratch(name, shape, self.dtype if dtype is None else dtype)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """One node of a network, for one worker: made once, the same in every pass.

    Attributes:
        index: position of the node in the network.
        params: the node's parameters by name, in the layer's own layout.
        buffers: the node's running statistics by name.
        grads: this worker's gradient accumulators, shaped like `params`.
        prepared, prepared_grad: where the layer has `prepared`: the array, and the accumulator of
            its gradient.
        inplace: the node may write its output over its (first) input.
        need_dx: somebody reads the gradient of the node's input.
        has_backward: passes that go back go through this node.
    """

    index: int = 0
    params: dict[str, Array] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)
    prepared: Array = field(default_factory=lambda: NOTHING)
    prepared_grad: Array = field(default_factory=lambda: NOTHING)
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
