"""The trained scale and shift of each channel that normalizations end in."""

from __future__ import annotations

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.types import Array


def scale_and_shift(c: int) -> tuple[ParamSpec, ParamSpec]:
    return ParamSpec("weight", (c,), "scale"), ParamSpec("bias", (c,), "shift")


def add_gradients(sums: Array, node: NodeContext, run: RunContext) -> None:
    """Add the (2, c) sums of dy and of dy·xhat to the gradients of bias and weight."""
    for name, values in zip(("bias", "weight"), sums, strict=True):
        if run.fresh:
            node.grads[name][...] = values
        else:
            node.grads[name] += values
