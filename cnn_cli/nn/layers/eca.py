"""Efficient channel attention: a gate from a convolution over the channels' means."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any, ClassVar

from cnn_cli.nn.layers.base import Block, ChainLayer, ShapeError
from cnn_cli.nn.layers.squeeze_excite import Gate
from cnn_cli.nn.types import Shape
from cnn_cli.schema.constraints import Count


class EfficientChannelAttention(Block):
    """Multiply each channel by a gate computed from its neighbors' means (Wang et al. 2019).

    Args:
        in_shape: (h, w, c).
        kernel_size: number of neighboring channels for one gate, odd; by default the paper's for c
            channels: (log2(c) + 1) / 2 rounded down, plus one if that is even, and at least 3.
        gate: activation that makes the gate.
    """

    kind: ClassVar[str] = "eca"
    listed: ClassVar[int] = 285
    joins: ClassVar[str] = "excite"

    @classmethod
    def complete(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if (arguments["kernel_size"] or 1) % 2 == 0:
            raise ShapeError("kernel_size must be odd")
        return dict(arguments)

    def __init__(
        self, in_shape: Shape, *, kernel_size: Count | None = None, gate: Gate = "sigmoid"
    ) -> None:
        if kernel_size is None:
            kernel_size = max(3, int((log2(in_shape[-1]) + 1) / 2) | 1)
        self.chain = (
            ChainLayer("pool", "global_avgpool", {}),
            ChainLayer("conv", "channel_conv", {"kernel_size": kernel_size}),
            ChainLayer("gate", gate, {}),
        )
