"""The activation layers a network is written in; each works on single numbers."""

from __future__ import annotations

from cnn_cli.config.layer import LayerConfig
from cnn_cli.schema.fields import Above0, Count, NotBelow0


class ReLUConfig(LayerConfig):
    """max(0, x)."""

    kind = "relu"


class LeakyReLUConfig(LayerConfig):
    """x above 0, negative_slope x below.

    Attributes:
        negative_slope: factor of what is below 0.
    """

    kind = "leaky_relu"
    negative_slope: NotBelow0 = 0.01


class SiLUConfig(LayerConfig):
    """x times its sigmoid."""

    kind = "silu"


class GELUConfig(LayerConfig):
    """x times the normal distribution's function of x (the exact one)."""

    kind = "gelu"


class ReLU6Config(LayerConfig):
    """x between 0 and 6, and the nearer of them elsewhere."""

    kind = "relu6"


class HardSwishConfig(LayerConfig):
    """x relu6(x + 3) / 6."""

    kind = "hardswish"


class SigmoidConfig(LayerConfig):
    """1 / (1 + exp(-x))."""

    kind = "sigmoid"


class HardSigmoidConfig(LayerConfig):
    """relu6(x + 3) / 6."""

    kind = "hardsigmoid"


class TanhConfig(LayerConfig):
    """The hyperbolic tangent."""

    kind = "tanh"


class ELUConfig(LayerConfig):
    """x above 0, alpha (exp(x) - 1) below.

    Attributes:
        alpha: minus this is what it falls to.
    """

    kind = "elu"
    alpha: Above0 = 1.0


class SELUConfig(LayerConfig):
    """ELU, scaled so that it keeps mean 0 and variance 1."""

    kind = "selu"


class SoftplusConfig(LayerConfig):
    """log(1 + exp(x))."""

    kind = "softplus"


class SoftsignConfig(LayerConfig):
    """x / (1 + |x|)."""

    kind = "softsign"


class PReLUConfig(LayerConfig):
    """x above 0, a trained number times x below: one for all channels, or one for each.

    Attributes:
        num_parameters: 1, or the number of channels.
    """

    kind = "prelu"
    num_parameters: Count = 1
