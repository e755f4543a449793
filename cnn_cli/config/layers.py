"""The layers a network is written in: one model a kind, with PyTorch's names and defaults.

A layer is written as ``relu``, ``conv: {out_channels: 8, kernel_size: 3}`` or, where one value is
enough, ``maxpool: 2``: a lone value is the first argument.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from cnn_cli.config.activations import (
    ELUConfig,
    GELUConfig,
    HardSigmoidConfig,
    HardSwishConfig,
    LeakyReLUConfig,
    PReLUConfig,
    ReLU6Config,
    ReLUConfig,
    SELUConfig,
    SigmoidConfig,
    SiLUConfig,
    SoftplusConfig,
    SoftsignConfig,
    TanhConfig,
)
from cnn_cli.config.layer import LayerConfig
from cnn_cli.config.plain_layers import (
    AvgPoolConfig,
    BatchNormConfig,
    ConvConfig,
    DropoutConfig,
    FlattenConfig,
    GlobalAvgPoolConfig,
    GroupNormConfig,
    LinearConfig,
    MaxPoolConfig,
    ScaleConfig,
    SqueezeExciteConfig,
)
from cnn_cli.schema.fields import Must, ShareBelow1


class ResidualConfig(LayerConfig):
    """The sum of some layers' output and a shortcut (He et al. 2015), nothing after it.

    Attributes:
        layers: what the shortcut goes past.
        shortcut: layers that the input goes through before it is added; by default none.
        drop_path: stochastic depth: with this probability the layers of an image count nothing in
            training (Huang et al. 2016); else they count 1 / (1 - drop_path) times, as in timm.
    """

    kind = "residual"
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    shortcut: tuple[AnyLayer, ...] | None = None
    drop_path: ShareBelow1 = 0.0


class BranchesConfig(LayerConfig):
    """Several lists of layers side by side, concatenated along the channels.

    Attributes:
        branches: the lists.
    """

    kind = "branches"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=1)]


class RepeatConfig(LayerConfig):
    """Some layers several times over, each copy with weights of its own.

    Attributes:
        times: number of copies.
        layers: what is copied.
    """

    kind = "repeat"
    times: Annotated[int, Field(strict=True, gt=0, le=1000), Must("a whole number from 1 to 1000")]
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]


LAYER_KINDS: dict[str, type[LayerConfig]] = {
    model.kind: model
    for model in (
        ConvConfig,
        BatchNormConfig,
        GroupNormConfig,
        ReLUConfig,
        LeakyReLUConfig,
        SiLUConfig,
        GELUConfig,
        ReLU6Config,
        HardSwishConfig,
        SigmoidConfig,
        HardSigmoidConfig,
        TanhConfig,
        ELUConfig,
        SELUConfig,
        SoftplusConfig,
        SoftsignConfig,
        PReLUConfig,
        MaxPoolConfig,
        AvgPoolConfig,
        GlobalAvgPoolConfig,
        FlattenConfig,
        DropoutConfig,
        ScaleConfig,
        LinearConfig,
        SqueezeExciteConfig,
        ResidualConfig,
        BranchesConfig,
        RepeatConfig,
    )
}


def _kind_of(value: Any) -> str | None:
    if isinstance(value, LayerConfig):
        return value.kind
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value))
    return value if isinstance(value, str) else None


AnyLayer = Annotated[
    Annotated[ConvConfig, Tag("conv")]
    | Annotated[BatchNormConfig, Tag("batchnorm")]
    | Annotated[GroupNormConfig, Tag("groupnorm")]
    | Annotated[ReLUConfig, Tag("relu")]
    | Annotated[LeakyReLUConfig, Tag("leaky_relu")]
    | Annotated[SiLUConfig, Tag("silu")]
    | Annotated[GELUConfig, Tag("gelu")]
    | Annotated[ReLU6Config, Tag("relu6")]
    | Annotated[HardSwishConfig, Tag("hardswish")]
    | Annotated[SigmoidConfig, Tag("sigmoid")]
    | Annotated[HardSigmoidConfig, Tag("hardsigmoid")]
    | Annotated[TanhConfig, Tag("tanh")]
    | Annotated[ELUConfig, Tag("elu")]
    | Annotated[SELUConfig, Tag("selu")]
    | Annotated[SoftplusConfig, Tag("softplus")]
    | Annotated[SoftsignConfig, Tag("softsign")]
    | Annotated[PReLUConfig, Tag("prelu")]
    | Annotated[MaxPoolConfig, Tag("maxpool")]
    | Annotated[AvgPoolConfig, Tag("avgpool")]
    | Annotated[GlobalAvgPoolConfig, Tag("global_avgpool")]
    | Annotated[FlattenConfig, Tag("flatten")]
    | Annotated[DropoutConfig, Tag("dropout")]
    | Annotated[ScaleConfig, Tag("scale")]
    | Annotated[LinearConfig, Tag("linear")]
    | Annotated[SqueezeExciteConfig, Tag("squeeze_excite")]
    | Annotated[ResidualConfig, Tag("residual")]
    | Annotated[BranchesConfig, Tag("branches")]
    | Annotated[RepeatConfig, Tag("repeat")],
    Discriminator(_kind_of),
]

for _model in (ResidualConfig, BranchesConfig, RepeatConfig):
    _model.model_rebuild()
