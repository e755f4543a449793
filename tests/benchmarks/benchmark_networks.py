"""The networks that are timed, as `model.layers` of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Layers = list[Any]


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Attributes:
        layers: `model.layers`, as YAML would give it.
        in_shape: (height, width, channels).
        batch: images a step.
        predicts: it is prediction that is timed, not training.
    """

    layers: Layers
    in_shape: tuple[int, int, int]
    classes: int
    batch: int
    predicts: bool = False

    def make_batch(self) -> tuple[Any, Any]:
        """Images (batch, h, w, c) float32 and class numbers (batch,)."""
        import numpy as np  # here, so that the process that compares memory stays small

        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, *self.in_shape)).astype(np.float32)
        return x, rng.integers(0, self.classes, self.batch)


def _conv(out_channels: int, kernel_size: int = 3, **arguments: Any) -> dict[str, Any]:
    return {"conv": {"out_channels": out_channels, "kernel_size": kernel_size} | arguments}


def _conv_norm_relu(channels: int, **arguments: Any) -> Layers:
    return [_conv(channels, padding=1, bias=False, **arguments), "batchnorm", "relu"]


def _block(channels: int, stride: int = 1) -> Layers:
    """A basic block of He et al. 2015."""
    inside = _conv_norm_relu(channels, stride=stride)
    inside += [_conv(channels, padding=1, bias=False), "batchnorm"]
    return [{"residual": {"layers": inside}}, "relu"]


def _speedrun_block(channels: int) -> Layers:
    return [
        _conv(channels, padding=1, bias=False),
        {"maxpool": 2},
        "batchnorm",
        "gelu",
        _conv(channels, padding=1, bias=False),
        "batchnorm",
        "gelu",
    ]


SEED: Layers = [
    _conv(16, stride=2),
    "relu",
    {"maxpool": 2},
    _conv(32, stride=2),
    "relu",
    _conv(64, stride=2),
    "relu",
    _conv(128, stride=2),
    "relu",
    {"linear": "classes"},
]
LENET: Layers = [
    _conv(32, padding=1),
    "relu",
    {"maxpool": 2},
    _conv(64, padding=1),
    "relu",
    {"maxpool": 2},
    {"linear": 128},
    "relu",
    {"linear": "classes"},
]
VGG: Layers = [
    *_conv_norm_relu(32),
    *_conv_norm_relu(32),
    {"maxpool": 2},
    *_conv_norm_relu(64),
    *_conv_norm_relu(64),
    {"maxpool": 2},
    *_conv_norm_relu(128),
    *_conv_norm_relu(128),
    "global_avgpool",
    {"linear": "classes"},
]
RESNET20: Layers = [
    *_conv_norm_relu(16),
    *_block(16) * 3,
    *_block(32, 2),
    *_block(32) * 2,
    *_block(64, 2),
    *_block(64) * 2,
    "global_avgpool",
    {"linear": "classes"},
]
# K. Jordan, "94% on CIFAR-10 in 3.29 seconds", arXiv:2404.00498.
SPEEDRUN: Layers = [
    _conv(24, 2),
    "gelu",
    *_speedrun_block(64),
    *_speedrun_block(256),
    *_speedrun_block(256),
    {"maxpool": 3},
    "flatten",
    {"linear": "classes"},
]
RESNET18: Layers = [
    _conv(64, 7, stride=2, padding=3, bias=False),
    "batchnorm",
    "relu",
    {"maxpool": {"kernel_size": 3, "stride": 2, "padding": 1}},
    *_block(64) * 2,
    *_block(128, 2),
    *_block(128),
    *_block(256, 2),
    *_block(256),
    *_block(512, 2),
    *_block(512),
    "global_avgpool",
    {"linear": "classes"},
]

NETWORKS: dict[str, Network] = {
    "seed-32": Network(SEED, (224, 224, 3), 3, 32),
    "seed-4": Network(SEED, (224, 224, 3), 3, 4),
    "lenet": Network(LENET, (28, 28, 1), 10, 64),
    "vgg": Network(VGG, (32, 32, 3), 10, 64),
    "resnet20": Network(RESNET20, (32, 32, 3), 10, 64),
    "speedrun": Network(SPEEDRUN, (32, 32, 3), 10, 256),
    "resnet18": Network(RESNET18, (224, 224, 3), 1000, 8),
    "seed-predict": Network(SEED, (224, 224, 3), 3, 32, predicts=True),
}
