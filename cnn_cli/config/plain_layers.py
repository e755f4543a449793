"""The layers that hold no others: one model a kind, with PyTorch's names and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator

from cnn_cli.config.layer import LayerConfig
from cnn_cli.schema.fields import (
    Above0,
    Also,
    Count,
    Flag,
    Frozen,
    Must,
    Number,
    Pair,
    PairOrZero,
    Share,
    broken,
)


def _word_is_whitening(value: Any) -> Any:
    return {} if value == "whitening" else value


class WhiteningConfig(Frozen):
    """Filters that make the images' patches white (arXiv:2404.00498, section 3.1).

    Attributes:
        type: says that it is this one.
        eps: added to the variance of each direction of the patches.
    """

    type: Literal["whitening"] = "whitening"
    eps: Above0 = 5e-4


class ConvConfig(LayerConfig):
    """2-D convolution.

    With padding `same` the output is the input divided by the stride, rounded up, as in
    TensorFlow; an odd row or column of padding is at the end.

    Attributes:
        out_channels: filters, each of which makes a channel.
        kernel_size: height and width of a filter.
        stride: rows and columns from one window to the next.
        padding: rows and columns of zeros on each side, or `same`.
        dilation: rows and columns from one of a filter's taps to the next.
        groups: parts that the channels, in and out, are cut into; each sees its own part only.
        bias: whether a number is added to each channel.
        init: how the weights start, instead of as `model.init` says: `dirac`: the first filters
            hand on a channel each as it is, `whitening`: from the training images' patches. With
            either the bias starts at 0.
    """

    kind = "conv"
    out_channels: Count
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Annotated[
        PairOrZero | Literal["same"], Must("a whole number, 0 or more, two of them, or 'same'")
    ] = (0, 0)
    dilation: Pair = (1, 1)
    groups: Count = 1
    bias: Flag = True
    init: Annotated[
        Literal["dirac"] | WhiteningConfig | None,
        Also(_word_is_whitening, lambda _: {"const": "whitening"}),
        Must("dirac, whitening, or a mapping of whitening's type and eps"),
    ] = None

    def arguments(self) -> dict[str, Any]:
        arguments = super().arguments()
        if isinstance(self.init, WhiteningConfig):
            arguments |= {"init": "whitening", "init_eps": self.init.eps}
        return arguments


class BatchNormConfig(LayerConfig):
    """Batch normalization (Ioffe and Szegedy 2015).

    Attributes:
        eps: added to the variance.
        momentum: share of a batch in the running statistics.
    """

    kind = "batchnorm"
    eps: Above0 = 1e-5
    momentum: Share = 0.1


class GroupNormConfig(LayerConfig):
    """Group normalization (Wu and He 2018).

    Attributes:
        num_groups: parts that the channels are cut into.
        eps: added to the variance.
    """

    kind = "groupnorm"
    num_groups: Count
    eps: Above0 = 1e-5


class _PoolConfig(LayerConfig):
    """A window that is moved over each channel.

    Attributes:
        kernel_size: height and width of the window.
        stride: rows and columns from one window to the next; by default `kernel_size`.
        padding: rows and columns around the map, at most half a window.
        ceil_mode: whether a last window may stand over the edge.
    """

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
    """The largest value of each window.

    Attributes:
        dilation: rows and columns from one of the window's places to the next.
    """

    kind = "maxpool"
    dilation: Pair = (1, 1)


class AvgPoolConfig(_PoolConfig):
    """The mean of each window.

    Attributes:
        count_include_pad: whether the zeros of the padding count in the mean.
    """

    kind = "avgpool"
    count_include_pad: Flag = True


class GlobalAvgPoolConfig(LayerConfig):
    """The mean of each channel over the whole map."""

    kind = "global_avgpool"


class FlattenConfig(LayerConfig):
    """One vector an image, in channel, row, column order."""

    kind = "flatten"


class DropoutConfig(LayerConfig):
    """Zeroes each value with probability p while training (Srivastava et al. 2014).

    Attributes:
        p: probability of a value to be zeroed.
    """

    kind = "dropout"
    p: Share = 0.5


class ScaleConfig(LayerConfig):
    """Each value times a number that is not trained.

    Attributes:
        factor: the number.
    """

    kind = "scale"
    factor: Number


class LinearConfig(LayerConfig):
    """A matrix product; `classes` stands for the number of classes.

    Attributes:
        out_features: length of the vector that is made, or `classes`.
        bias: whether a number is added to each feature.
    """

    kind = "linear"
    out_features: Annotated[
        Count | Literal["classes"], Must("a whole number above 0, or 'classes'")
    ]
    bias: Flag = True


class SqueezeExciteConfig(LayerConfig):
    """Each channel times a number from 0 to 1 found from all channels' means (Hu et al. 2017).

    Attributes:
        squeeze_channels: numbers that the channels' means are squeezed into.
        activation: of these.
        gate: what makes a number from 0 to 1 of each channel's.
    """

    kind = "squeeze_excite"
    squeeze_channels: Count
    activation: Annotated[
        Literal["relu", "silu", "gelu", "relu6", "hardswish"],
        Must("relu, silu, gelu, relu6 or hardswish"),
    ] = "relu"
    gate: Annotated[Literal["sigmoid", "hardsigmoid"], Must("sigmoid or hardsigmoid")] = "sigmoid"
