"""Layer normalization over the channels of a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.layers.batch import add_gradients, scale_and_shift
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Above0


class LayerNorm(Layer):
    """Layer normalization (Ba et al. 2016) over the channels of each pixel, as in ConvNeXt.

    Args:
        in_shape: (h, w, c) or (features,).
        eps: added to the variance; 1e-5 in PyTorch.
    """

    kind: ClassVar[str] = "layernorm"
    listed: ClassVar[int] = 31
    saves_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, eps: Above0 = 1e-6) -> None:
        self.in_shape = self.out_shape = in_shape
        self.eps = eps
        self.params = scale_and_shift(in_shape[-1])

    def forward(
        self, x: Array, node: NodeContext, run: RunContext
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return y, and x with the (2, n, …, 1) mean and inverse standard deviation of each
        pixel.
        """
        statistics = run.take((2, *x.shape[:-1], 1))
        mean, invstd = statistics
        np.mean(x, axis=-1, keepdims=True, out=mean)
        y = np.subtract(x, mean, out=run.take(x.shape))
        np.einsum("...c,...c->...", y, y, out=invstd[..., 0])
        np.divide(invstd, x.shape[-1], out=invstd)
        np.add(invstd, self.eps, out=invstd)
        np.sqrt(invstd, out=invstd)
        np.reciprocal(invstd, out=invstd)
        np.multiply(y, invstd, out=y)
        np.multiply(y, node.params["weight"], out=y)
        np.add(y, node.params["bias"], out=y)
        return y, (x, statistics)

    def backward(
        self, dy: Array, saved: tuple[Array, Array], node: NodeContext, run: RunContext
    ) -> Array | None:
        """Return the gradient of x, written over dy: (g - mean(g) - xhat mean(g xhat)) / std for g
        = dy weight, with means over the channels.
        """
        x, (mean, invstd) = saved
        xhat = np.subtract(x, mean, out=run.scratch("xhat", x.shape))
        np.multiply(xhat, invstd, out=xhat)
        pixels = dy.reshape(-1, dy.shape[-1])
        sums = np.stack(
            [
                pixels.sum(axis=0, dtype=np.float64),
                np.einsum("pc,pc->c", pixels, xhat.reshape(pixels.shape), dtype=np.float64),
            ]
        )
        add_gradients(sums, node, run)
        if not node.need_dx:
            return None
        np.multiply(dy, node.params["weight"], out=dy)
        share = np.einsum("...c,...c->...", dy, xhat)[..., np.newaxis] / dy.shape[-1]
        np.multiply(xhat, share, out=xhat)
        np.subtract(dy, dy.mean(axis=-1, keepdims=True), out=dy)
        np.subtract(dy, xhat, out=dy)
        np.multiply(dy, invstd, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        """ONNX normalizes the last axes, so channels are moved there and back."""
        scale, shift = (
            operators.constant(f"{name}.{key}", arrays[key]) for key in ("weight", "bias")
        )
        is_map = len(self.in_shape) == 3
        if is_map:
            inputs = [operators.add("Transpose", inputs, f"{name}.last", perm=(0, 2, 3, 1))]
        normal = operators.add(
            "LayerNormalization",
            [*inputs, scale, shift],
            f"{name}.normal" if is_map else name,
            axis=-1,
            epsilon=self.eps,
        )
        if not is_map:
            return normal
        return operators.add("Transpose", [normal], name, perm=(0, 3, 1, 2))
