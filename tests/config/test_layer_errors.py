"""Invalid layers in a config: one line with the place, the rule and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_errors import BELOW_1, NUMBER_ABOVE_0, message, names

COUNT_OR_CLASSES = "must be a whole number above 0, or 'classes'."
LAYER = "a layer is a name, or one name with its arguments."
PADDING = "must be a whole number, 0 or more, two or four of them, or 'same'."


LAYERS = [
    ("cnv: 3", "[0]: no such layer. Did you mean 'conv'? Got 'cnv'."),
    ("xyz", "[0]: no such layer. Got 'xyz'."),
    (
        "Softmax",
        "[0]: no such layer. Leave it out: the network ends in scores. Got 'Softmax'.",
    ),
    ("3", f"[0]: {LAYER} Got 3."),
    ("null", f"[0]: {LAYER} Got nothing."),
    ("{conv: 3, relu: }", f"[0]: {LAYER} Got the keys conv, relu."),
    ("conv", "[0].conv.out_channels: is required."),
    ("conv: 8", "[0].conv.kernel_size: is required."),
    (
        "conv: {out_channels: 0, kernel_size: 3}",
        f"[0].conv.out_channels: {COUNT_OR_CLASSES} Got 0.",
    ),
    (
        "conv: {out_channels: true, kernel_size: 3}",
        f"[0].conv.out_channels: {COUNT_OR_CLASSES} Got true.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: three}",
        f"[0].conv.kernel_size: {NUMBER_ABOVE_0} Got 'three'.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3.0}",
        f"[0].conv.kernel_size: {NUMBER_ABOVE_0} Got 3.0.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: [3, 0]}",
        "[0].conv.kernel_size: must be two whole numbers above 0, [height, width]. Got [3, 0].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, stride: 0}",
        f"[0].conv.stride: {NUMBER_ABOVE_0} Got 0.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, strid: 1}",
        "[0].conv.strid: unknown key. Did you mean 'stride'?",
    ),
    ("conv: {out_channels: 8, kernel_size: 3, zoom: 1}", "[0].conv.zoom: unknown key."),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: sme}",
        f"[0].conv.padding: {PADDING} Got 'sme'.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: -1}",
        f"[0].conv.padding: {PADDING} Got -1.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, bias: 1}",
        "[0].conv.bias: must be true or false. Got 1.",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, init: zca}",
        "[0].conv.init: must be dirac, whitening, or a mapping of whitening's type and eps."
        " Got 'zca'.",
    ),
    ("scale", "[0].scale.factor: is required."),
    ("scale: .inf", "[0].scale.factor: must be a finite number. Got inf."),
    ("residual: {layers: [relu], drop_path: 1}", f"[0].residual.drop_path: {BELOW_1} Got 1."),
    ("elu: 0", "[0].elu.alpha: must be a number above 0. Got 0."),
    ("prelu: 0", "[0].prelu.num_parameters: must be a whole number above 0. Got 0."),
    ("squeeze_excite", "[0].squeeze_excite.squeeze_channels: is required."),
    (
        "squeeze_excite: {squeeze_channels: 8, activation: tanh}",
        "[0].squeeze_excite.activation: must be relu, silu, gelu, relu6 or hardswish. Got 'tanh'.",
    ),
    (
        "squeeze_excite: {squeeze_channels: 8, gate: relu}",
        "[0].squeeze_excite.gate: must be sigmoid or hardsigmoid. Got 'relu'.",
    ),
    ("relu7", "[0]: no such layer. Did you mean 'relu'? Got 'relu7'."),
    ("relu: 3", "[0].relu: takes no argument but name."),
    ("relu: {slope: 3}", "[0].relu.slope: unknown key."),
    (
        "relu: {name: a.b}",
        "[0].relu.name: must be a name of letters, digits, '_' and '-'. Got 'a.b'.",
    ),
    ("leaky_relu: -1", "[0].leaky_relu.negative_slope: must be a number, 0 or more. Got -1."),
    ("batchnorm: {momentum: 2}", "[0].batchnorm.momentum: must be a number from 0 to 1. Got 2."),
    ("batchnorm: {eps: 0}", "[0].batchnorm.eps: must be a number above 0. Got 0."),
    ("groupnorm", "[0].groupnorm.num_groups: is required."),
    (
        "maxpool: {kernel_size: 2, padding: 2}",
        "[0].maxpool: padding must be at most half of kernel_size.",
    ),
    (
        "avgpool: {kernel_size: 2, ceil_mode: yes}",
        "[0].avgpool.ceil_mode: must be true or false. Got 'yes'.",
    ),
    ("dropout: 1.5", "[0].dropout.p: must be a number from 0 to 1. Got 1.5."),
    (
        "linear: clases",
        "[0].linear.out_features: must be a whole number above 0, or 'classes'. Got 'clases'.",
    ),
    ("residual", "[0].residual.layers: is required."),
    ("residual: {layers: []}", "[0].residual.layers: must not be empty. Got []."),
    (
        "residual: {layers: [relu], shortcut: [geluu]}",
        "[0].residual.shortcut[0]: no such layer. Did you mean 'gelu'? Got 'geluu'.",
    ),
    ("branches: [relu]", "[0].branches[0]: must be a list. Got 'relu'."),
    ("eca: 4", "[0].eca: kernel_size must be odd."),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: [1, 2, 3]}",
        f"[0].conv.padding: {PADDING} Got [1, 2, 3].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding: [0, 1, 0, -1]}",
        f"[0].conv.padding: {PADDING} Got [0, 1, 0, -1].",
    ),
    (
        "conv: {out_channels: 8, kernel_size: 3, padding_mode: mirror}",
        "[0].conv.padding_mode: must be zeros or reflect. Got 'mirror'.",
    ),
    (
        "maxpool: {kernel_size: 3, padding: [0, 1, 0]}",
        "[0].maxpool.padding: must be two whole numbers, 0 or more, [height, width], or four, "
        "[top, bottom, left, right]. Got [0, 1, 0].",
    ),
    (
        "maxpool: {kernel_size: 3, padding: [0, 1, 0, 2]}",
        "[0].maxpool: padding must be at most half of kernel_size.",
    ),
    ("pad", "[0].pad.padding: is required."),
    (
        "pad: [1, 2, 3]",
        "[0].pad.padding: must be two whole numbers, [height, width], or four, "
        "[top, bottom, left, right]. Got [1, 2, 3].",
    ),
    ("pad: -1.5", "[0].pad.padding: must be a whole number. Got -1.5."),
    ("slice: -1", "[0].slice.start: must be a whole number, 0 or more. Got -1."),
    ("slice: {stop: 0}", "[0].slice.stop: must be a whole number above 0. Got 0."),
    ("radix_softmax", "[0].radix_softmax.radix: is required."),
    ("from: a b", "[0].from.layer: must be the name of a layer. Got 'a b'."),
    ("from", "[0].from.layer: is required."),
    (
        "branches: {branches: [[relu]], combine: multiply}",
        "[0].branches.combine: must be concat, sum or product. Got 'multiply'.",
    ),
    (
        "branches: [[relu], [relu, reul]]",
        "[0].branches[1][1]: no such layer. Did you mean 'relu'? Got 'reul'.",
    ),
    (
        "repeat: {times: 0, layers: [relu]}",
        "[0].repeat.times: must be a whole number from 1 to 1000. Got 0.",
    ),
    ("repeat: 3", "[0].repeat.layers: is required."),
    (
        "repeat: {times: 2, layers: [residual: {layers: [conv: {out_channels: 8,"
        " kernel_size: -1}]}]}",
        f"[0].repeat.layers[0].residual.layers[0].conv.kernel_size: {NUMBER_ABOVE_0} Got -1.",
    ),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(("text", "expected"), LAYERS, ids=names(LAYERS))
def test_layer(path: Path, text: str, expected: str) -> None:
    assert message(path, f"model: {{layers: [{text}]}}") == f"model.layers{expected}"
