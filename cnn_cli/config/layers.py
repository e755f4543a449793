"""The layers a network is written in: one model a kind, with PyTorch's names and defaults.

A layer is written as ``relu``, ``conv: {out_channels: 8, kernel_size: 3}`` or, where one value is
enough, ``maxpool: 2``: a lone value is the first argument.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

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
from cnn_cli.config.fields import (
    Above0,
    Count,
    Flag,
    Frozen,
    Number,
    Pair,
    PairOrZero,
    Share,
    ShareBelow1,
    broken,
    must,
)
from cnn_cli.config.layer import LayerConfig


def _word_is_whitening(value: Any) -> Any:
    return {} if value == "whitening" else value


class WhiteningConfig(Frozen):
    """Filters that make the images' patches white (arXiv:2404.00498, section 3.1).

    Attributes:
        eps: added to the variance of each direction of the patches.
    """

    type: Literal["whitening"] = "whitening"
    eps: Above0 = 5e-4


class ConvConfig(LayerConfig):
    """2-D convolution.

    With padding `same` the output is the input divided by the stride, rounded up, as in
    TensorFlow; an odd row or column of padding is at the end.

    Attributes:
        init: how the weights start, instead of as `model.init` says: `dirac`: the first filters
            hand on a channel each as it is, `whitening`: from the training images' patches. With
            either the bias starts at 0.
    """

    kind = "conv"
    out_channels: Count
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Annotated[
        PairOrZero | Literal["same"], must("a whole number, 0 or more, two of them, or 'same'")
    ] = (0, 0)
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: Flag = True
    init: Annotated[
        Literal["dirac"] | WhiteningConfig | None,
        BeforeValidator(_word_is_whitening),
        must("dirac, whitening, or a mapping of whitening's type and eps"),
    ] = None

    def arguments(self) -> dict[str, Any]:
        arguments = super().arguments()
        if isinstance(self.init, WhiteningConfig):
            arguments |= {"init": "whitening", "init_eps": self.init.eps}
        return arguments


class BatchNormConfig(LayerConfig):
    """Batch normalization (Ioffe and Szegedy 2015)."""

    kind = "batchnorm"
    eps: Above0 = 1e-5
    momentum: Share = 0.1


class GroupNormConfig(LayerConfig):
    """Group normalization (Wu and He 2018)."""

    kind = "groupnorm"
    num_groups: Count
    eps: Above0 = 1e-5


class _PoolConfig(LayerConfig):
    kernel_size: Pair
    stride: Pair | None = None
    padding: PairOrZero = (0, 0)
    ceil_mode: Flag = False

    @model_validator(mode="after")
    def _padding_fits(self) -> _PoolConfig:
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise broken("padding must be at most half of kernel_size")
        return self

    def arguments(self) -> dict[str, Any]:
        return super().arguments() | {"stride": self.stride or self.kernel_size}


class MaxPoolConfig(_PoolConfig):
    """The largest value of each window."""

    kind = "maxpool"
    dilation: Pair = (1, 1)


class AvgPoolConfig(_PoolConfig):
    """The mean of each window."""

    kind = "avgpool"
    count_include_pad: Flag = True


class GlobalAvgPoolConfig(LayerConfig):
    """The mean of each channel over the whole map."""

    kind = "global_avgpool"


class FlattenConfig(LayerConfig):
    """One vector an image, in channel, row, column order."""

    kind = "flatten"


class DropoutConfig(LayerConfig):
    """Zeroes each value with probability p while training (Srivastava et al. 2014)."""

    kind = "dropout"
    p: Share = 0.5


class ScaleConfig(LayerConfig):
    """Each value times a number that is not trained."""

    kind = "scale"
    factor: Number


class LinearConfig(LayerConfig):
    """A matrix product; `classes` stands for the number of classes."""

    kind = "linear"
    out_features: Annotated[
        Count | Literal["classes"], must("a whole number above 0, or 'classes'")
    ]
    bias: Flag = True


class ResidualConfig(LayerConfig):
    """The sum of some layers' output and a shortcut (He et al. 2015), nothing after it.

    Attributes:
        drop_path: stochastic depth: with this probability the layers of an image count nothing in
            training (Huang et al. 2016); else they count 1 / (1 - drop_path) times, as in timm.
    """

    kind = "residual"
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    shortcut: tuple[AnyLayer, ...] | None = None
    drop_path: ShareBelow1 = 0.0


class SqueezeExciteConfig(LayerConfig):
    """Each channel times a number from 0 to 1 found from all channels' means (Hu et al. 2017)."""

    kind = "squeeze_excite"
    squeeze_channels: Count
    activation: Annotated[
        Literal["relu", "silu", "gelu", "relu6", "hardswish"],
        must("relu, silu, gelu, relu6 or hardswish"),
    ] = "relu"
    gate: Annotated[Literal["sigmoid", "hardsigmoid"], must("sigmoid or hardsigmoid")] = "sigmoid"


class BranchesConfig(LayerConfig):
    """Several lists of layers side by side, concatenated along the channels."""

    kind = "branches"
    branches: Annotated[tuple[tuple[AnyLayer, ...], ...], Field(min_length=1)]


class RepeatConfig(LayerConfig):
    """Some layers several times over, each copy with weights of its own."""

    kind = "repeat"
    times: Annotated[int, Field(strict=True, gt=0, le=1000), must("a whole number from 1 to 1000")]
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
