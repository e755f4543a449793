"""Layers that need the whole batch, while the engine processes it in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TypeGuard

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, ParamSpec
from cnn_cli.nn.types import Array
from cnn_cli.structs import Struct


def scale_and_shift(c: int) -> tuple[ParamSpec, ParamSpec]:
    """Return the specs of a normalization's weight and bias, both (c,)."""
    return ParamSpec("weight", (c,), "scale"), ParamSpec("bias", (c,), "shift")


def add_gradients(sums: Array, node: NodeContext, run: RunContext) -> None:
    """Add the (2, c) sums of dy and of dy·xhat to the gradients of bias and weight."""
    for name, values in zip(("bias", "weight"), sums, strict=True):
        if run.fresh:
            node.grads[name][...] = values
        else:
            node.grads[name] += values


Partials = Sequence[Array] | Array
"""Results of several chunks or processes, all of one shape."""


class Statistics(Struct):
    """Statistics of each channel over a whole batch.

    Attributes:
        count: values per channel: images times pixels.
        mean: (c,) float64.
        var: (c,) float64, biased: the mean of squared deviations.
    """

    count: int
    mean: Array
    var: Array

    @property
    def unbiased_var(self) -> Array:
        """The unbiased variance for running statistics; unchanged for a single value."""
        return self.var * (self.count / max(self.count - 1, 1))

    def as_partial(self) -> Array:
        """Return the form of `BatchLayer.partial`, to combine with others."""
        return np.stack([np.full_like(self.mean, self.count), self.mean, self.var * self.count])


class BatchLayer(Layer):
    """A layer that synchronizes its chunks twice in each training pass.

    Forward: `partial` for every chunk; `combine`, once; `update_running`, once; then
    `forward_batch` for every chunk. Backward: `backward_partial` for every chunk;
    `combine_backward`, once; then `backward_batch` for every chunk. Partial results are combined in
    the given order, so that the same chunks give the same bits.

    In evaluation, and if it is `frozen`, it behaves like any other layer: `forward` and `backward`
    use the running statistics, and no other method is called.

    Attributes:
        frozen: training uses the running statistics and does not update them.
    """

    frozen: bool = False

    def partial(self, x: Array, run: RunContext) -> Array:
        """Return (3, c) float64 for a chunk: count, mean, sum of squared deviations."""
        raise NotImplementedError

    def combine(self, partials: Partials) -> Statistics:
        """Return the batch's statistics from its chunks' partial ones."""
        raise NotImplementedError

    def update_running(self, statistics: Statistics, buffers: Mapping[str, Array]) -> None:
        """Move the running statistics in `buffers`, in place, towards the batch's."""
        raise NotImplementedError

    def forward_batch(
        self, x: Array, statistics: Statistics, node: NodeContext, run: RunContext
    ) -> tuple[Array, Array]:
        """Like `forward`, with the batch's statistics."""
        raise NotImplementedError

    def backward_partial(
        self, dy: Array, saved: Array, statistics: Statistics, node: NodeContext, run: RunContext
    ) -> Array:
        """Return (2, c) float64 for a chunk, and add the parameters' gradients to `node.grads`.

        `backward_batch` receives dy as this call leaves it.
        """
        raise NotImplementedError

    def combine_backward(self, partials: Partials) -> Array:
        """Return (2, c) float64: the sum of the chunks' partial results."""
        raise NotImplementedError

    def backward_batch(
        self,
        dy: Array,
        saved: Array,
        statistics: Statistics,
        sums: Array,
        node: NodeContext,
        run: RunContext,
    ) -> Array | None:
        """Return the gradient of the input, or None if it is not needed.

        `sums` are from `combine_backward`; the parameters' gradients have been added already.
        """
        raise NotImplementedError


def waits_for_batch(layer: Layer) -> TypeGuard[BatchLayer]:
    """Whether a layer synchronizes its chunks in training."""
    return isinstance(layer, BatchLayer) and not layer.frozen


def needs_company(layers: Iterable[Layer]) -> bool:
    """Whether a batchnorm among them sees one value per channel and image: one image alone has no
    variance.
    """
    return any(
        isinstance(layer, BatchLayer) and prod(layer.out_shape[:-1]) == 1 for layer in layers
    )
