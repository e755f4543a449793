"""The layers by their word in the config."""

from __future__ import annotations

from cnn_cli.nn.layers.activation import GELU, HardSwish, LeakyReLU, ReLU, ReLU6, SiLU
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.dropout import Dropout
from cnn_cli.nn.layers.linear import Linear
from cnn_cli.nn.layers.norm import BatchNorm, GroupNorm
from cnn_cli.nn.layers.pool import AvgPool, GlobalAvgPool, MaxPool
from cnn_cli.nn.layers.rare import (
    ELU,
    SELU,
    HardSigmoid,
    PReLU,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from cnn_cli.nn.layers.shape import Flatten, Scale

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Conv,
        BatchNorm,
        GroupNorm,
        ReLU,
        LeakyReLU,
        SiLU,
        GELU,
        ReLU6,
        HardSwish,
        Sigmoid,
        HardSigmoid,
        Tanh,
        ELU,
        SELU,
        Softplus,
        Softsign,
        PReLU,
        MaxPool,
        AvgPool,
        GlobalAvgPool,
        Flatten,
        Dropout,
        Scale,
        Linear,
    )
}
