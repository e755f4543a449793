"""Group normalization (Wu and He 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.kernels.loops.activation import NONE
from cnn_cli.nn.layers.base import Layer, Operators, ShapeError
from cnn_cli.nn.layers.batch import add_gradients, scale_and_shift
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Above0, Count


class GroupNorm(Layer):
    """Group normalization (Wu and He 2018).

    Args:
        in_shape: (h, w, c) or (features,).
        num_groups: number of groups of channels.
        eps: added to the variance.

    Raises:
        ShapeError: the channels cannot be cut so.

    Attributes:
        activation: applied to the result, see `nn.fuse`.
    """

    kind: ClassVar[str] = "groupnorm"
    listed: ClassVar[int] = 30
    saves_input: ClassVar[bool] = True
    activation: int = NONE

    def __init__(self, in_shape: Shape, *, num_groups: Count, eps: Above0 = 1e-5) -> None:
        c = in_shape[-1]
        if c % num_groups:
            raise ShapeError(f"num_groups {num_groups} must divide the number of channels {c}")
        self.in_shape = self.out_shape = in_shape
        self.num_groups = num_groups
        self.eps = eps
        self.params = scale_and_shift(c)

    def forward(
        self, x: Array, node: NodeContext, run: RunContext
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return y, and x with the (2, n, c) mean and inverse standard deviation of each value's
        group.
        """
        rows = self._rows(x)
        means, m2 = run.kernels.moments(rows, run.scratch)
        mean = self._group_mean(means)
        # The groups' variance: within the channels, plus between their means.
        var = self._group_mean(m2 / rows.shape[1] + (means - mean) ** 2)
        invstd = 1 / np.sqrt(var + self.eps)
        weight, bias = node.params["weight"], node.params["bias"]
        y = run.take(x.shape)
        run.kernels.normalize(
            rows, mean, invstd, weight, bias, self.activation, self._rows(y), run.scratch
        )
        statistics = run.take((2, *mean.shape), np.float64)
        statistics[0], statistics[1] = mean, invstd
        return y, (x, statistics)

    def backward(
        self, dy: Array, saved: tuple[Array, Array], node: NodeContext, run: RunContext
    ) -> Array | None:
        """Return the gradient of x, written over dy."""
        x, (mean, invstd) = self._rows(saved[0]), saved[1]
        rows = self._rows(dy)
        weight, bias = node.params["weight"], node.params["bias"]
        sums = run.kernels.gradient_sums(
            rows, x, mean, invstd, weight, bias, self.activation, run.scratch
        )
        add_gradients(sums.sum(axis=1), node, run)
        if not node.need_dx:
            return None
        mean_dy, mean_dy_xhat = (self._group_mean(weight * each / rows.shape[1]) for each in sums)
        run.kernels.normalize_backward(
            rows, x, mean, invstd, weight, mean_dy, mean_dy_xhat, run.scratch
        )
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """Export each group as a channel, normalized, then scaled per original channel."""
        groups = self.num_groups
        by_group = operators.constant(f"{name}.groups", [0, groups, -1])
        ones = operators.constant(f"{name}.ones", np.ones(groups))
        zeros = operators.constant(f"{name}.zeros", np.zeros(groups))
        grouped = operators.add("Reshape", [*inputs, by_group], f"{name}.grouped")
        normal = operators.add(
            "InstanceNormalization", [grouped, ones, zeros], f"{name}.normal", epsilon=self.eps
        )
        *size, channels = self.in_shape
        shape = operators.constant(f"{name}.shape", [0, channels, *size])
        back = operators.add("Reshape", [normal, shape], f"{name}.back")
        by_channel = (-1, *(1 for _ in size))
        scale, shift = (
            operators.constant(f"{name}.{key}", arrays[key].reshape(by_channel))
            for key in ("weight", "bias")
        )
        scaled = operators.add("Mul", [back, scale], f"{name}.scaled")
        return operators.add("Add", [scaled, shift], name)

    def _rows(self, x: Array) -> Array:
        """View (n, *in_shape) as (n, pixels, c)."""
        return x.reshape(x.shape[0], prod(self.in_shape[:-1]), self.in_shape[-1])

    def _group_mean(self, values: Array) -> Array:
        """Average over the channels of each group, repeated for each of them: (n, c) to (n, c)."""
        grouped = values.reshape(len(values), self.num_groups, -1)
        return np.repeat(grouped.mean(axis=2), grouped.shape[2], axis=1)
