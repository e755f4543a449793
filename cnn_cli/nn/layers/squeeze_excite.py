"""Squeeze-and-excitation: five layers and a product, written as one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from cnn_cli.nn.layers.base import Block, ChainLayer
from cnn_cli.nn.types import Shape
from cnn_cli.schema.constraints import Count, Must

GateKind = Literal["sigmoid", "hardsigmoid"]
Gate = Annotated[GateKind, Must("sigmoid or hardsigmoid")]
ActivationKind = Literal["relu", "silu", "gelu", "relu6", "hardswish"]


class SqueezeExcite(Block):
    """Multiply each channel by a gate computed from the means of all channels (Hu et al. 2017).

    Args:
        in_shape: (h, w, c).
        squeeze_channels: channels between the two linear layers.
        activation: activation after the first linear layer.
        gate: activation that makes the gate.
    """

    kind: ClassVar[str] = "squeeze_excite"
    listed: ClassVar[int] = 280
    joins: ClassVar[str] = "excite"

    def __init__(
        self,
        in_shape: Shape,
        *,
        squeeze_channels: Count,
        activation: Annotated[
            ActivationKind, Must("relu, silu, gelu, relu6 or hardswish")
        ] = "relu",
        gate: Gate = "sigmoid",
    ) -> None:
        self.chain = (
            ChainLayer("pool", "global_avgpool", {}),
            ChainLayer("reduce", "linear", {"out_features": squeeze_channels}),
            ChainLayer("activation", activation, {}),
            ChainLayer("expand", "linear", {"out_features": in_shape[-1]}),
            ChainLayer("gate", gate, {}),
        )
