"""Dropout of a residual's layers, scaled while training."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnn_cli import rng
from cnn_cli.nn.context import Context
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import ShareBelow1


class DropPath(Layer):
    """Stochastic depth: zeroes whole images with probability p in training (Huang et al. 2016).

    The others are scaled by 1/(1-p), as in timm, instead of all of them by 1-p in evaluation.

    Args:
        in_shape: of one image.
        p: from 0 up to, but not, 1.

    Which images depends on the seed, the step, the layer and the positions in the batch.
    """

    kind: ClassVar[str] = "drop_path"
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, p: ShareBelow1) -> None:
        self.in_shape = self.out_shape = in_shape
        self.p = p

    def forward(self, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        """Return y and each image's factor, (n, 1, ..., 1), or None where nothing is dropped."""
        y = x if ctx.inplace else ctx.take(x.shape)
        if not ctx.training:
            if y is not x:
                np.copyto(y, x)
            return y, None
        factors = ctx.take((len(x),) + (1,) * (x.ndim - 1))
        places = np.arange(ctx.start, ctx.start + len(x))
        drawn = rng.uniforms(ctx.seed, rng.Purpose.DROP_PATH, ctx.step, places, ctx.layer_index, 1)
        factors[...] = (drawn.reshape(factors.shape) >= self.p) / (1 - self.p)
        np.multiply(x, factors, out=y)
        return y, factors

    def backward(self, dy: Array, saved: Array | None, ctx: Context) -> Array | None:
        if not ctx.need_dx:
            return None
        if saved is not None:
            np.multiply(dy, saved, out=dy)
        return dy
