"""Batch normalization (Ioffe and Szegedy 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.kernels.norm import scale_rows
from cnn_cli.nn.layers.base import BufferSpec, Operators
from cnn_cli.nn.layers.batch import BatchLayer, Partials, Statistics, add_gradients, scale_and_shift
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Above0, Share

Coefficients = tuple[Array, Array, Array, Array]
"""Mean and inverse standard deviation, (1, c) float64; weight and bias, (c,)."""


class BatchNorm(BatchLayer):
    """Batch normalization (Ioffe and Szegedy 2015).

    Args:
        in_shape: (h, w, c) or (features,).
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Attributes:
        activation: applied to the result, see `nn.fuse`.
    """

    kind: ClassVar[str] = "batchnorm"
    listed: ClassVar[int] = 20
    saves_input: ClassVar[bool] = True
    can_write_input: ClassVar[bool] = True

    activation: int = NONE

    def __init__(self, in_shape: Shape, *, eps: Above0 = 1e-5, momentum: Share = 0.1) -> None:
        c = in_shape[-1]
        self.in_shape = self.out_shape = in_shape
        self.eps = eps
        self.momentum = momentum
        self.params = scale_and_shift(c)
        self.buffers = (
            BufferSpec("running_mean", (c,), initial=0),
            BufferSpec("running_var", (c,), initial=1),
        )

    def partial(self, x: Array, run: RunContext) -> Array:
        rows = self._rows(x)
        partial = np.empty((3, rows.shape[2]))
        partial[0] = rows.shape[1]
        partial[1:2], partial[2:3] = run.kernels.moments(rows, run.scratch)
        return partial

    def combine(self, partials: Partials) -> Statistics:
        """Combine the chunks' statistics (Chan, Golub and LeVeque 1983), all at once."""
        counts, means, m2s = np.asarray(partials).swapaxes(0, 1)
        count = counts.sum(axis=0)
        mean = means[0] + (counts * (means - means[0])).sum(axis=0) / count
        m2 = m2s.sum(axis=0) + (counts * (means - mean) ** 2).sum(axis=0)
        return Statistics(int(count[0]), mean, m2 / count)

    def update_running(self, statistics: Statistics, buffers: Mapping[str, Array]) -> None:
        """Update the running statistics as PyTorch does."""
        news = {"running_mean": statistics.mean, "running_var": statistics.unbiased_var}
        for name, new in news.items():
            buffers[name][...] = (1 - self.momentum) * buffers[name] + self.momentum * new

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array]:
        """Return y and x: the backward pass normalizes again."""
        return self._normalize(x, self._running(node), node, run)

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        """Return the gradient of x, written over dy."""
        coefficients = self._running(node)
        self._gradient_sums(dy, saved, coefficients, node, run)
        if not node.need_dx:
            return None
        _, invstd, weight, _ = coefficients
        scale_rows(self._rows(dy), weight * invstd)
        return dy

    def forward_batch(
        self, x: Array, statistics: Statistics, node: NodeContext, run: RunContext
    ) -> tuple[Array, Array]:
        return self._normalize(x, self._of_batch(statistics, node), node, run)

    def backward_partial(
        self, dy: Array, saved: Array, statistics: Statistics, node: NodeContext, run: RunContext
    ) -> Array:
        """Return the sums of dy and of dy·xhat, the gradients of bias and weight.

        With an activation, dy becomes the gradient of the activation's input.
        """
        return self._gradient_sums(dy, saved, self._of_batch(statistics, node), node, run)

    def combine_backward(self, partials: Partials) -> Array:
        total: Array = np.sum(partials, axis=0)
        return total

    def backward_batch(
        self,
        dy: Array,
        saved: Array,
        statistics: Statistics,
        sums: Array,
        node: NodeContext,
        run: RunContext,
    ) -> Array | None:
        """Return the gradient of x, written over dy, as `backward_partial` has left it."""
        if not node.need_dx:
            return None
        mean, invstd, weight, _ = self._of_batch(statistics, node)
        mean_dy, mean_dy_xhat = weight * sums[:, None] / statistics.count
        run.kernels.normalize_backward(
            self._rows(dy),
            self._rows(saved),
            mean,
            invstd,
            weight,
            mean_dy,
            mean_dy_xhat,
            run.scratch,
        )
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        constants = [operators.constant(f"{name}.{key}", arrays[key]) for key in arrays]
        return operators.add("BatchNormalization", [*inputs, *constants], name, epsilon=self.eps)

    def _normalize(
        self, x: Array, coefficients: Coefficients, node: NodeContext, run: RunContext
    ) -> tuple[Array, Array]:
        y = x if node.inplace else run.take(x.shape)
        run.kernels.normalize(
            self._rows(x), *coefficients, self.activation, self._rows(y), run.scratch
        )
        return y, x

    def _gradient_sums(
        self, dy: Array, x: Array, coefficients: Coefficients, node: NodeContext, run: RunContext
    ) -> Array:
        sums: Array = run.kernels.gradient_sums(
            self._rows(dy), self._rows(x), *coefficients, self.activation, run.scratch
        )[:, 0]
        add_gradients(sums, node, run)
        return sums

    def _of_batch(self, statistics: Statistics, node: NodeContext) -> Coefficients:
        return self._coefficients(statistics.mean, statistics.var, node)

    def _running(self, node: NodeContext) -> Coefficients:
        mean, var = node.buffers["running_mean"], node.buffers["running_var"]
        return self._coefficients(mean.astype(np.float64), var.astype(np.float64), node)

    def _coefficients(self, mean: Array, var: Array, node: NodeContext) -> Coefficients:
        invstd = 1 / np.sqrt(var[None] + self.eps)
        return mean[None], invstd, node.params["weight"], node.params["bias"]

    def _rows(self, x: Array) -> Array:
        """View (n, *in_shape) as (1, rows, c)."""
        return x.reshape(1, -1, self.in_shape[-1])
