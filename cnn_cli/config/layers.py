"""The layers a network is written in: one model a kind, with PyTorch's names and defaults.

A layer is written as ``relu``, ``conv: {out_channels: 8, kernel_size: 3}`` or, where one value is
enough, ``maxpool: 2``: a lone value is the first argument.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_serializer,
    model_validator,
)

from cnn_cli.config.fields import (
    Above0,
    Count,
    Flag,
    Frozen,
    NotBelow0,
    Pair,
    PairOrZero,
    Share,
    broken,
    must,
    once,
)

LayerName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100),
    must("a name of letters, digits, '_' and '-'"),
]


class LayerConfig(Frozen):
    """What every layer may carry.

    Attributes:
        kind: its word in the config.
        name: stands for the layer wherever one is named; by default its path of positions.
    """

    kind: ClassVar[str]

    name: LayerName | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """Turn the three ways of writing a layer into a mapping of arguments."""
        if isinstance(value, str):
            return {}
        if not (isinstance(value, dict) and list(value) == [cls.kind]):
            return value
        arguments = value[cls.kind]
        if arguments is None:
            return {}
        if isinstance(arguments, dict):
            return arguments
        first = cls.first_argument()
        if first is None:
            raise broken("takes no argument but name")
        return {first: arguments}

    @model_serializer(mode="plain")
    def _wrap(self) -> dict[str, Any]:
        arguments = {key: once(getattr(self, key)) for key in type(self).model_fields}
        if self.name is None:
            del arguments["name"]
        return {self.kind: arguments}

    @classmethod
    def first_argument(cls) -> str | None:
        """The argument that a lone value stands for."""
        return next((field for field in cls.model_fields if field != "name"), None)

    def arguments(self) -> dict[str, Any]:
        """What the layer's class takes, apart from the input's shape."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}


class ConvConfig(LayerConfig):
    """2-D convolution; `same` keeps the size, an odd row or column of padding at the end."""

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

    @model_validator(mode="after")
    def _same_needs_stride_1(self) -> ConvConfig:
        if self.padding == "same" and self.stride != (1, 1):
            raise broken("padding 'same' requires stride 1")
        return self


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


class ReLUConfig(LayerConfig):
    """max(0, x)."""

    kind = "relu"


class LeakyReLUConfig(LayerConfig):
    """x above 0, negative_slope x below."""

    kind = "leaky_relu"
    negative_slope: NotBelow0 = 0.01


class SiLUConfig(LayerConfig):
    """x times its sigmoid."""

    kind = "silu"


class GELUConfig(LayerConfig):
    """x times the normal distribution's function of x (the exact one)."""

    kind = "gelu"


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


class LinearConfig(LayerConfig):
    """A matrix product; `classes` stands for the number of classes."""

    kind = "linear"
    out_features: Annotated[
        Count | Literal["classes"], must("a whole number above 0, or 'classes'")
    ]
    bias: Flag = True


class ResidualConfig(LayerConfig):
    """The sum of some layers' output and a shortcut (He et al. 2015), nothing after it."""

    kind = "residual"
    layers: Annotated[tuple[AnyLayer, ...], Field(min_length=1)]
    shortcut: tuple[AnyLayer, ...] | None = None


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
        MaxPoolConfig,
        AvgPoolConfig,
        GlobalAvgPoolConfig,
        FlattenConfig,
        DropoutConfig,
        LinearConfig,
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
    | Annotated[MaxPoolConfig, Tag("maxpool")]
    | Annotated[AvgPoolConfig, Tag("avgpool")]
    | Annotated[GlobalAvgPoolConfig, Tag("global_avgpool")]
    | Annotated[FlattenConfig, Tag("flatten")]
    | Annotated[DropoutConfig, Tag("dropout")]
    | Annotated[LinearConfig, Tag("linear")]
    | Annotated[ResidualConfig, Tag("residual")]
    | Annotated[BranchesConfig, Tag("branches")]
    | Annotated[RepeatConfig, Tag("repeat")],
    Discriminator(_kind_of),
]

for _model in (ResidualConfig, BranchesConfig, RepeatConfig):
    _model.model_rebuild()
