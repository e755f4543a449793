"""Dropout of single values, with scaling in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from cnn_cli import rng
from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, Operators
from cnn_cli.nn.types import Array, Shape
from cnn_cli.schema.constraints import Share


class Dropout(Layer):
    """Zeroes each value with probability p while training (Srivastava et al. 2014).

    Args:
        in_shape: of one image.
        p: probability that a value is set to zero.
    """

    # The others are scaled by 1/(1-p), as in PyTorch. A mask depends on the seed, the step, the
    # layer and the image's position in the batch, not on how the batch is divided into chunks.

    kind: ClassVar[str] = "dropout"
    listed: ClassVar[int] = 250
    can_write_input: ClassVar[bool] = True

    def __init__(self, in_shape: Shape, *, p: Share = 0.5) -> None:
        self.in_shape = self.out_shape = in_shape
        self.p = p
        self.scale = 1 / (1 - p) if p < 1 else 0.0

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Array | None]:
        """Return y and the mask of the kept values, or None if all are kept."""
        y = x if node.inplace else run.take(x.shape)
        if not run.training or self.p == 0:
            if y is not x:
                np.copyto(y, x)
            return y, None
        kept = run.take(x.shape, np.bool_)
        self._draw(kept, node, run)
        np.multiply(x, kept, out=y)
        np.multiply(y, self.scale, out=y)
        return y, kept

    def backward(
        self, dy: Array, saved: Array | None, node: NodeContext, run: RunContext
    ) -> Array | None:
        if not node.need_dx:
            return None
        if saved is not None:
            np.multiply(dy, saved, out=dy)
            np.multiply(dy, self.scale, out=dy)
        return dy

    def to_onnx(
        self, inputs: list[str], name: str, arrays: Mapping[str, Array], operators: Operators
    ) -> str:
        return inputs[0]

    def _draw(self, kept: Array, node: NodeContext, run: RunContext) -> None:
        """Draw a mask for each image of the chunk."""
        # Always float32, so that float64 gradient checks use the same masks.
        uniform = run.scratch("uniform", self.in_shape, np.float32)
        for i, mask in enumerate(kept):
            place = (run.step, node.index, run.offset + i)
            stream = rng.generator(run.seed, rng.Purpose.DROPOUT, *place)
            stream.random(dtype=np.float32, out=uniform)
            np.greater_equal(uniform, self.p, out=mask)
