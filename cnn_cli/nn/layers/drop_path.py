"""Stochastic depth for residual branches, with scaling in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli import rng
from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import ShareBelow1


class DropPath(Layer):
    """Stochastic depth: zeroes whole images with probability p in training (Huang et al. 2016).

    The others are scaled by 1/(1-p), as in timm, instead of all of them by 1-p in evaluation.

    Args:
        in_shape: of one image.
        p: 0 or more and below 1.

    Which images depends on the seed, the step, the layer and the positions in the batch.
    """

    kind: ClassVar[str] = "drop_path"
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, p: ShareBelow1) -> None:
        self.in_shape = self.out_shape = in_shape
        self.p = p

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array | None]:
        """Return y and each image's factor, (n, 1, ..., 1), or None if nothing is dropped."""
        y = x if node.inplace else run.take(x.shape)
        if not run.training:
            if y is not x:
                np.copyto(y, x)
            return y, None
        factors = run.take((len(x),) + (1,) * (x.ndim - 1))
        places = np.arange(run.offset, run.offset + len(x))
        drawn = rng.uniforms(run.seed, rng.Purpose.DROP_PATH, run.step, places, node.index, 1)
        factors[...] = (drawn.reshape(factors.shape) >= self.p) / (1 - self.p)
        np.multiply(x, factors, out=y)
        return y, factors

    def backward(
        self, dy: Array, saved: Array | None, node: NodeContext, run: RunContext
    ) -> Array | None:
        if not node.need_dx:
            return None
        if saved is not None:
            np.multiply(dy, saved, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return inputs[0]
