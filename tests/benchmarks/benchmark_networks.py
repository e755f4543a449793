"""The networks of the benchmarks, as `model.layers` of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Layers = list[Any]


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Attributes:
        layers: `model.layers`, as in YAML.
        in_shape: (height, width, channels).
        batch: images per step.
        predicts: prediction is timed instead of training.
        frozen: number of first layers with parameters that are frozen: in inference mode, without
            gradients.
    """

    layers: Layers
    in_shape: tuple[int, int, int]
    classes: int
    batch: int
    predicts: bool = False
    frozen: int = 0

    def make_batch(self) -> tuple[Any, Any]:
        """Images (batch, h, w, c) float32 and class numbers (batch,)."""
        import numpy as np  # imported here, so that the process that compares memory stays small

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


def _conv_norm(channels: int, kernel_size: int = 1, **arguments: Any) -> Layers:
    norm = {"batchnorm": {"eps": 1e-3, "momentum": 0.01}}
    return [_conv(channels, kernel_size, bias=False, **arguments), norm]


def _inverted(inputs: int, channels: int, kernel_size: int, stride: int = 1) -> Layers:
    """An inverted bottleneck of Sandler et al. 2018."""
    wide = 6 * inputs
    depthwise = _conv_norm(wide, kernel_size, stride=stride, groups=wide, padding="same")
    return [*_conv_norm(wide), "relu6", *depthwise, "relu6", *_conv_norm(channels)]


def _stage(inputs: int, channels: int, kernel_size: int, stride: int, more: int = 0) -> Layers:
    again = {"residual": {"layers": _inverted(channels, channels, kernel_size)}}
    return [*_inverted(inputs, channels, kernel_size, stride), *[again] * more]


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
# EfficientNet-Lite0, Tan and Le 2019, without its dropout.
LITE0: Layers = [
    *_conv_norm(32, 3, stride=2, padding="same"),
    "relu6",
    *_conv_norm(32, 3, groups=32, padding="same"),
    "relu6",
    *_conv_norm(16),
    *_stage(16, 24, 3, 2, 1),
    *_stage(24, 40, 5, 2, 1),
    *_stage(40, 80, 3, 2, 2),
    *_stage(80, 112, 5, 1, 2),
    *_stage(112, 192, 5, 2, 3),
    *_stage(192, 320, 3, 1),
    *_conv_norm(1280),
    "relu6",
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
    "lite0-upper": Network(LITE0, (224, 224, 3), 4, 32, frozen=66),
    "seed-predict": Network(SEED, (224, 224, 3), 3, 32, predicts=True),
}
