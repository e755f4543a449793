"""Small networks that together contain every layer, and how each golden file trains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One golden file.

    Attributes:
        layers: `model.layers`, as in YAML.
        in_shape: (height, width, channels).
        optimizer: `train.optimizer`.
        smooth: it has no kinks (ReLU, maximum), so that float32 stays close to float64.
        layer_decay: `train.layer_decay`.
        blocks: if that is not 1, prefixes of the names of each block's layers, from the image.
    """

    layers: list[Any]
    in_shape: tuple[int, int, int] = (9, 8, 3)
    classes: int = 4
    images: int = 7
    optimizer: dict[str, Any] = field(
        default_factory=lambda: {"type": "sgd", "lr": 0.05, "weight_decay": 5e-4}
    )
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    smooth: bool = False
    layer_decay: float = 1.0
    blocks: tuple[tuple[str, ...], ...] = ()


def _conv(out_channels: int | str, kernel_size: Any = 3, **arguments: Any) -> dict[str, Any]:
    return {"conv": {"out_channels": out_channels, "kernel_size": kernel_size} | arguments}


_BASIC_BLOCK = [
    _conv(6, padding=1, bias=False),
    "batchnorm",
    "relu",
    _conv(6, padding=1, bias=False),
    "batchnorm",
]


def _sum_of_halves(channels: int) -> dict[str, Any]:
    halves = [[{"slice": {"stop": channels}}], [{"slice": channels}]]
    return {"branches": {"branches": halves, "combine": "sum"}}


CASES: dict[str, Case] = {
    "plain": Case(
        [
            _conv(5, 5),
            "relu",
            {"maxpool": 2},
            _conv(7, 2, name="second"),
            {"leaky_relu": 0.2},
            {"linear": 9},
            {"dropout": 0.0},
            "relu",
            {"linear": "classes"},
        ],
        optimizer={"type": "sgd", "lr": 0.05, "momentum": 0.0, "nesterov": False},
    ),
    "convolutions": Case(
        [
            _conv(8, 4, padding="same"),
            "silu",
            _conv(8, [1, 3], padding=[0, 1], groups=2),
            "gelu",
            _conv(16, 3, padding=2, dilation=2, groups=8),
            "silu",
            _conv(6, [3, 2], stride=[2, 3], padding=[2, 1], bias=False),
            "gelu",
            _conv(6, 1),
            "silu",
            _conv(5, 2, padding="same", dilation=3),
            {"avgpool": {"kernel_size": 3, "stride": 2, "padding": 1}},
            "flatten",
            {"linear": {"out_features": "classes", "bias": False}},
        ],
        in_shape=(11, 10, 1),
        optimizer={"type": "adam", "lr": 0.01, "weight_decay": 0.01},
        smooth=True,
    ),
    "pooling": Case(
        [
            _conv(6, 3),
            {"maxpool": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}},
            _conv(6, 1),
            {"maxpool": {"kernel_size": [2, 3], "stride": 1}},
            {
                "avgpool": {
                    "kernel_size": 3,
                    "stride": 2,
                    "padding": 1,
                    "ceil_mode": True,
                    "count_include_pad": False,
                }
            },
            {"avgpool": {"kernel_size": 2, "stride": 2, "ceil_mode": True}},
            "global_avgpool",
            {"linear": "classes"},
        ],
        in_shape=(13, 12, 3),
        optimizer={"type": "adamw", "lr": 0.01, "weight_decay": 0.05},
        label_smoothing=0.1,
    ),
    "resnet": Case(
        [
            _conv(4, 3, padding=1, bias=False),
            "batchnorm",
            "relu",
            {"residual": {"layers": _BASIC_BLOCK}},
            "relu",
            {"repeat": {"times": 2, "layers": [{"residual": {"layers": _BASIC_BLOCK}}, "relu"]}},
            {
                "residual": {
                    "layers": [
                        _conv(8, 3, stride=2, padding=1, bias=False),
                        "batchnorm",
                        "relu",
                        _conv(8, 3, padding=1, bias=False),
                        {"batchnorm": {"momentum": 0.3, "eps": 1e-3}},
                    ]
                }
            },
            "relu",
            "global_avgpool",
            {"linear": "classes"},
        ],
    ),
    "mobile": Case(
        [
            _conv(8, 3, stride=2, padding="same", bias=False),
            {"batchnorm": {"eps": 1e-3}},
            "relu6",
            _conv(8, [2, 5], stride=[3, 2], padding="same", dilation=[2, 1]),
            "hardswish",
            {
                "residual": {
                    "layers": [
                        _conv(12, 1, bias=False),
                        "batchnorm",
                        "hardswish",
                        _conv(12, 3, padding="same", groups=12),
                        {"squeeze_excite": {"squeeze_channels": 5, "name": "squeeze"}},
                        _conv(8, 1),
                    ]
                }
            },
            _conv(6, 1),
            "batchnorm",
            "relu6",
            _conv(6, 4, stride=2, padding="same", groups=6),
            {
                "squeeze_excite": {
                    "squeeze_channels": 3,
                    "activation": "silu",
                    "gate": "hardsigmoid",
                }
            },
            "tanh",
            "global_avgpool",
            {"linear": "classes"},
        ],
        in_shape=(17, 14, 3),
    ),
    "speedrun": Case(
        [
            _conv(8, 2),
            "gelu",
            _conv(6, 3, padding="same", bias=False),
            {"avgpool": 2},
            {"batchnorm": {"momentum": 0.4, "eps": 1e-12}},
            "gelu",
            _conv(6, 3, padding="same", bias=False),
            {"batchnorm": {"momentum": 0.4, "eps": 1e-12}},
            "gelu",
            {"avgpool": 3},
            {"linear": {"out_features": "classes", "bias": False}},
            {"scale": 0.111},
        ],
        optimizer={"type": "sgd", "lr": 0.2, "momentum": 0.85, "weight_decay": 1e-3},
        label_smoothing=0.2,
        smooth=True,
    ),
    "activations": Case(
        [
            _conv(6, 3, padding=1),
            {"prelu": 6},
            {"maxpool": {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": [2, 1]}},
            _conv(6, 1),
            "sigmoid",
            _conv(6, 1),
            {"elu": 0.7},
            _conv(6, 1),
            "selu",
            _conv(6, 1),
            "softplus",
            {"groupnorm": 3},
            "softsign",
            _conv(6, 1),
            "prelu",
            "hardsigmoid",
            "global_avgpool",
            {"linear": "classes"},
        ],
        in_shape=(5, 4, 3),
        optimizer={"type": "adam", "lr": 0.01},
    ),
    "modern": Case(
        [
            _conv(8, 2, stride=2),
            "layernorm",
            {
                "residual": {
                    "layers": [
                        _conv(8, 3, padding=1, groups=8),
                        {"layernorm": {"eps": 1e-3}},
                        _conv(16, 1),
                        "gelu",
                        _conv(8, 1),
                        {"layer_scale": 0.5},
                    ]
                }
            },
            {"split": [[], [_conv(6, 1), "silu"]]},
            {"channel_shuffle": 2},
            {"adaptive_avgpool": [3, 5]},
            "silu",
            _conv("classes", 1),
            "global_avgpool",
            "layernorm",
        ],
        smooth=True,
    ),
    "padding": Case(
        [
            {"pad": {"padding": [2, 0, 1, 3], "padding_mode": "reflect"}},
            _conv(6, 3, padding=[0, 1, 2, 0]),
            "silu",
            _conv(6, 3, padding=[2, 1], padding_mode="reflect", stride=2, groups=2),
            "silu",
            {"pad": 1},
            _conv(8, 3, padding="same", padding_mode="reflect"),
            "silu",
            {"avgpool": {"kernel_size": 3, "stride": 2, "padding": [0, 1, 1, 0]}},
            _conv(8, 3, padding=[1, 0, 1, 1], padding_mode="reflect", groups=8),
            "global_avgpool",
            {"linear": "classes"},
        ],
        smooth=True,
    ),
    "gates": Case(
        [
            _conv(6, 3, padding=1, name="stem"),
            "silu",
            # Squeeze-and-excitation as a product, and a spatial gate as in CBAM.
            {
                "branches": {
                    "branches": [
                        [],
                        ["global_avgpool", {"linear": 3}, "silu", {"linear": 6}, "sigmoid"],
                        [_conv(1, 3, padding=1), "sigmoid"],
                    ],
                    "combine": "product",
                }
            },
            {
                "branches": {
                    "branches": [[_conv(4, 3)], [_conv(4, [3, 1]), _conv(4, [1, 3])]],
                    "combine": "sum",
                }
            },
            "eca",
            {"upsample": 2},
            {"eca": {"kernel_size": 5, "gate": "hardsigmoid"}},
            {"upsample": [1, 3]},
            {"lrn": {"size": 3, "alpha": 0.3, "k": 2}},
            _conv(5, 3),
            {"lrn": {"size": 4, "alpha": 0.5, "beta": 0.5}},
            "global_avgpool",
            {"linear": "classes"},
        ],
        smooth=True,
    ),
    "parts": Case(
        [
            _conv(12, 3, padding=1),
            {"pad": [-1, 1, 2, -2]},
            "silu",
            {"branches": [[{"slice": {"stop": 5}}, _conv(5, 3, padding=1)], [{"slice": 5}]]},
            # Two branches and their weights, as in ResNeSt.
            {
                "branches": {
                    "branches": [
                        [],
                        [
                            _sum_of_halves(6),
                            "global_avgpool",
                            {"linear": 4},
                            "silu",
                            {"linear": 12},
                            {"radix_softmax": 2},
                        ],
                    ],
                    "combine": "product",
                }
            },
            _sum_of_halves(6),
            _conv(9, 3, padding=1),
            {"radix_softmax": 3},
            {"pad": -1},
            {"slice": {"start": 2, "stop": 8}},
            "global_avgpool",
            {"slice": {"start": 1}},
            {"linear": "classes"},
        ],
        smooth=True,
    ),
    "graph": Case(
        [
            _conv(6, 3, padding=1, name="stem"),
            "batchnorm",
            {"silu": {"name": "first"}},
            _conv(6, 3, stride=2, padding=1),
            "batchnorm",
            "silu",
            {
                "repeat": {
                    "times": 2,
                    "layers": [
                        _conv(6, 3, padding=1, name="inner"),
                        "silu",
                        _conv(6, 1, bias=False),
                        "batchnorm",
                        {"branches": {"branches": [[], [{"from": "inner"}]], "combine": "sum"}},
                    ],
                }
            },
            {
                "branches": [
                    [{"from": "first"}, _conv(4, 3, stride=2, padding=1), "batchnorm"],
                    [],
                    [
                        {"from": "stem"},
                        {"avgpool": {"kernel_size": 3, "stride": 2, "padding": 1}},
                    ],
                ]
            },
            "silu",
            "global_avgpool",
            {"linear": "classes"},
        ],
        smooth=True,
    ),
    "branches": Case(
        [
            _conv(6, 3, padding=1),
            "batchnorm",
            "silu",
            {
                "branches": [
                    [_conv(3, 1), "batchnorm", "gelu"],
                    [_conv(4, 3, padding=1), "batchnorm", "gelu", _conv(5, 3, padding=1)],
                    [],
                    [{"avgpool": {"kernel_size": 3, "stride": 1, "padding": 1}}, _conv(2, 1)],
                ]
            },
            {"groupnorm": 4},
            "silu",
            {
                "residual": {
                    "layers": [_conv(8, 1, groups=2), "gelu"],
                    "shortcut": [_conv(8, 3, padding=1), "batchnorm"],
                }
            },
            _conv(12, 3, stride=2, groups=2),
            {"groupnorm": {"num_groups": 3, "eps": 1e-3}},
            "gelu",
            "global_avgpool",
            "batchnorm",
            {"linear": "classes"},
        ],
        class_weights=(1.0, 0.5, 2.0, 0.25),
        label_smoothing=0.2,
        smooth=True,
    ),
    "layer_decay": Case(
        [
            "batchnorm",
            _conv(6, 3, padding=1, name="stem"),
            "batchnorm",
            "silu",
            {
                "residual": {
                    "layers": [_conv(6, 1, bias=False), "batchnorm", "silu", _conv(6, 3, padding=1)]
                }
            },
            _conv(8, 1, bias=False, name="expand"),
            "silu",
            _conv(8, 3, padding=1, groups=8, bias=False, name="depthwise"),
            {"batchnorm": {"name": "norm"}},
            {"squeeze_excite": {"squeeze_channels": 3}},
            _conv(5, 1, name="project"),
            {"branches": [[_conv(3, 1)], [_conv(2, 3, padding=1)]]},
            "global_avgpool",
            {"layernorm": {"name": "last"}},
            {"linear": {"out_features": "classes", "name": "head"}},
        ],
        optimizer={"type": "adamw", "lr": 0.02, "weight_decay": 0.1},
        layer_decay=0.6,
        blocks=(
            ("layers.0", "stem", "layers.2"),
            ("layers.4.",),
            ("expand",),
            ("depthwise", "norm", "layers.9.", "project"),
            ("layers.11.", "last"),
            ("head",),
        ),
    ),
}
