"""Networks written in blocks: their expansion, and all errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnn_cli.config import config_text, load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.places import Places
from cnn_cli.config.templates import write_out
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError, ExitCode
from cnn_cli.nn.graph import Graph

CB = (
    "cb(c, k=3, s=1): [{conv: {out_channels: $c, kernel_size: $k, stride: $s, padding: $(k // 2)}},"
    " batchnorm]"
)

WRONG = [
    ("define:\n  @CB@\nlayers:\n  - cb\n", "model.layers[0].cb: cb(c, k=3, s=1) needs c."),
    (
        "define:\n  @CB@\nlayers:\n  - cb: [8, 3, 1, 9]\n",
        "model.layers[0].cb: cb(c, k=3, s=1) takes at most 3 arguments. Got 4.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: {c: 8, stride: 2}\n",
        "model.layers[0].cb.stride: cb(c, k=3, s=1) has no such parameter.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: 0\n",
        (
            "model.define.cb[0].conv.out_channels, in model.layers[0].cb: must be a whole "
            "number above 0, or 'classes'. Got 0."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: [8, 5.5]\n",
        (
            "model.define.cb[0].conv.padding, in model.layers[0].cb: // is for whole numbers. "
            "Got 5.5 // 2."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: relu\n",
        (
            "model.define.cb[0].conv.out_channels, in model.layers[0].cb: must be a whole "
            "number above 0, or 'classes'. Got 'relu'."
        ),
    ),
    ("define:\n  @CB@\nlayers:\n  - bc: 8\n", "model.layers[0]: no such layer or block. Got 'bc'."),
    (
        "define:\n  @CB@\nlayers:\n  - softmax\n",
        "model.layers[0]: no such layer or block. Leave it out: the network ends in scores. "
        "Got 'softmax'.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: [8, $q]\n",
        "model.layers[0].cb[1]: there is no such value. Got '$q'.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $(8 +)\n",
        "model.layers[0].cb: must be arithmetic, as in k // 2: '8 +'. Got its end.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: [8, $(max(1, 2))]\n",
        (
            "model.layers[0].cb[1]: '$(' lacks its ')'; within [ ] and { }, quote an expression "
            "with a comma. Got '$(max(1'."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - relu\n  - cb: $(8\n",
        (
            "model.layers[1].cb: '$(' lacks its ')'; within [ ] and { }, quote an expression "
            "with a comma. Got '$(8'."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $(8 // 0)\n",
        "model.layers[0].cb: there is no division by 0. Got 8 // 0.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $(foo(3))\n",
        (
            "model.layers[0].cb: a function is one of ceil, make_divisible, max, min, round. "
            "Got 'foo'."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $(1.5 // 2)\n",
        "model.layers[0].cb: // is for whole numbers. Got 1.5 // 2.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $8\n",
        "model.layers[0].cb: '$' must be followed by a name, or an expression in ( ). Got '$8'.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: $(open.x)\n",
        "model.layers[0].cb: there is no such value. Got '$open'.",
    ),
    (
        "define:\n  a(x): [b: $x]\n  b(x): [c: $x]\n  c(x): [a: $x]\nlayers:\n  - a: 1\n",
        "model.define.c[0].a, in model.layers[0].a: a block must not call itself: a > b > c > a.",
    ),
    (
        "define:\n  a: [a]\nlayers:\n  - a\n",
        "model.define.a[0].a, in model.layers[0].a: a block must not call itself: a > a.",
    ),
    (
        "define:\n  conv(c): [relu]\nlayers:\n  - relu\n",
        "model.define.conv(c): conv is a layer's name.",
    ),
    (
        "define:\n  a(x, x): [relu]\nlayers:\n  - relu\n",
        "model.define.a(x, x): parameters must be of different names. Got 'x'.",
    ),
    (
        "define:\n  a(x=1, y): [relu]\nlayers:\n  - relu\n",
        (
            "model.define.a(x=1, y): parameters without a default come before those that have "
            "one. Got 'y'."
        ),
    ),
    (
        "define:\n  a(x=): [relu]\nlayers:\n  - relu\n",
        "model.define.a(x=): a parameter is a name, or a name with a default, s=1. Got 'x='.",
    ),
    (
        "define:\n  a(1): [relu]\nlayers:\n  - relu\n",
        "model.define.a(1): a parameter is a name, or a name with a default, s=1. Got '1'.",
    ),
    (
        "define:\n  a(x: [relu]\nlayers:\n  - relu\n",
        (
            "model.define.a(x: a block is named as in cb(c, k, s=1), on a line of its own or "
            "in quotes."
        ),
    ),
    ("define:\n  a: []\nlayers:\n  - relu\n", "model.define.a: must be a list of layers. Got []."),
    (
        "define:\n  a: {relu: 1}\nlayers:\n  - relu\n",
        "model.define.a: must be a list of layers. Got a mapping.",
    ),
    (
        "define:\n  a(x): [relu]\n  a(y): [relu]\nlayers:\n  - relu\n",
        "model.define.a(y): a occurs twice.",
    ),
    (
        "define:\n  2x: 3\nlayers:\n  - relu\n",
        "model.define.2x: a value's name is of letters, digits and '_'.",
    ),
    (
        "define: [1]\nlayers: [relu]",
        "model.define: must be a mapping of names to lists of layers, or to values. Got [1].",
    ),
    (
        "define: {cb(c, k): [relu]}\nlayers: [relu]",
        (
            "model.define.cb(c: a block is named as in cb(c, k, s=1), on a line of its own or "
            "in quotes."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - repeat: {times: 2, index: 3, layers: [relu]}\n",
        "model.layers[0].repeat.index: must be a name of letters, digits and '_'. Got 3.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - repeat: {times: -1, index: i, layers: [relu]}\n",
        "model.layers[0].repeat.times: must be a whole number from 0 to 1000. Got -1.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - repeat: {times: 2, index: i, layers: relu}\n",
        "model.layers[0].repeat.layers: must be a list. Got 'relu'.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - repeat: {times: 2, index: i, layers: [relu], name: x}\n",
        "model.layers[0].repeat.name: a repeat with an index takes times, index and layers.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - repeat: {times: 3, index: i, layers: [cb: $(2 - i)]}\n",
        (
            "model.define.cb[0].conv.out_channels, in model.layers[0].repeat.layers[0].cb: "
            "must be a whole number above 0, or 'classes'. Got 0."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - when: {is: 3, layers: [relu]}\n",
        "model.layers[0].when.is: must be true or false, or a comparison. Got 3.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - when: [1]\n",
        "model.layers[0].when: takes is, layers and else. Got [1].",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - when: {is: true, layers: 3}\n",
        "model.layers[0].when.layers: must be a list. Got 3.",
    ),
    (
        "define:\n  @CB@\nlayers:\n  - when: {is: true, layers: [relu], or: []}\n",
        "model.layers[0].when.or: when takes is, layers and else.",
    ),
    (
        (
            "define:\n  x(c): [repeat: {times: 1000, index: i, layers: [repeat: {times: 1000, "
            "index: j, layers: [relu]}]}]\nlayers:\n  - x: 1\n"
        ),
        (
            "model.define.x[0].repeat.layers[0].repeat, in model.layers[0].x: written out, a "
            "network has at most 100,000 values."
        ),
    ),
    (
        "define:\n  f(g): [{$g: [$g]}]\nlayers:\n  - f: f\n",
        "model.define.f[0].f, in model.layers[0].f: a block must not call itself: f > f.",
    ),
    (
        (
            "define:\n  r(b): [residual: $b]\nlayers:\n  - r: [[conv: {out_channels: 4, "
            "kernel_size: 9}]]\n  - global_avgpool\n"
        ),
        (
            "model.define.r[0].residual, in model.layers[0].r: a sum needs equal shapes, not "
            "24x24x4 and 32x32x4. Got an input of 24x24x4 and 32x32x4."
        ),
    ),
    (
        (
            "define:\n  @CB@\n  two(c): [residual: [cb: $c, cb: [$c, 0]]]\nlayers:\n  - "
            "relu\n  - two: 8\n"
        ),
        (
            "model.define.cb[0].conv.kernel_size, in "
            "model.define.two[0].residual.layers[1].cb, in model.layers[1].two: must be a "
            "whole number above 0. Got 0."
        ),
    ),
    (
        "define:\n  @CB@\nlayers:\n  - cb: [8, 99]\n",
        (
            "model.define.cb[1], in model.layers[0].cb: the network must end in one score per "
            "class, 1000. Got an output of 32x32x8."
        ),
    ),
    (
        "network: resnet51",
        (
            "model.network: no such network; cnn networks lists them. Did you mean 'resnet50'? "
            "Got 'resnet51'."
        ),
    ),
    ("network: 3", "model.network: must be a name, or a mapping with name. Got 3."),
    (
        "network: {width: 2}",
        "model.network: must be a name, or a mapping with name. Got a mapping.",
    ),
    (
        "network: {name: resnet50, depth: 2}",
        (
            "model.network.depth: resnet50 takes width, drop_path, classes, n1, n2, n3, n4, "
            "groups, base_width. Did you mean 'width'? Got 'depth'."
        ),
    ),
    (
        "network: {name: resnet50, width: wide}",
        "model.network.width: must be a number, 0 or more. Got 'wide'.",
    ),
    (
        "network: {name: resnet50, width: 0}",
        "model.network.width: must be a number above 0. Got 0.",
    ),
    (
        "network: {name: resnet50, drop_path: 1}",
        (
            "model.network: resnet50.yaml: model.define.block[0].residual.drop_path, in "
            "model.network: resnet50.yaml: model.define.stage[0].block, in model.network: "
            "resnet50.yaml: model.layers[3].stage: must be a number, 0 or more and below 1. "
            "Got 1."
        ),
    ),
    (
        "network: {name: resnet50, classes: 5}",
        (
            "model.network: resnet50.yaml: model.layers[8]: the network must end in one score "
            "per class, 1000. Got an output of 5."
        ),
    ),
    ("network: resnet50\nlayers: [relu]", "model: network or layers: one of them."),
]


def network(text: str) -> Graph:
    """Return the network of a section `model`."""
    indented = "".join(f"  {line}\n" for line in text.replace("@CB@", CB).splitlines())
    config = validate_config(parse_yaml(f"model:\n{indented}", "a.yaml"), "a.yaml")
    return build_graph(config.model, (32, 32, 3), 1000, "a.yaml")


def layers(text: str) -> list[Any]:
    """Return the expanded layers of a section `model`."""
    model = parse_yaml(text.replace("@CB@", CB), "a.yaml")
    expanded: list[Any] = write_out(model, "a.yaml")[0]["layers"]
    return expanded


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_wrong(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        network(text)
    assert caught.value.line() == f"a.yaml: {expected}"
    assert caught.value.code is ExitCode.CONFIG


CONV = {"out_channels": 8, "kernel_size": 3, "stride": 1, "padding": 1}


@pytest.mark.parametrize(
    "call", ["cb: 8", "cb: [8]", "cb: [8, 3, 1]", "cb: {c: 8}", "cb: {s: 1, c: $(4 * 2)}"]
)
def test_ways_of_calling(call: str) -> None:
    assert layers(f"define:\n  @CB@\nlayers: [relu, {call}, tanh]") == [
        "relu",
        {"conv": CONV},
        "batchnorm",
        "tanh",
    ]


@pytest.mark.parametrize(
    ("define", "written", "expected"),
    [
        ("a: [relu]", "[a, a]", ["relu", "relu"]),
        ("n: 3", "[dropout: $n]", [{"dropout": 3}]),
        ("{n: 3, m: $(n * 2)}", "[dropout: $m]", [{"dropout": 6}]),
        ("act: silu", "[$act]", ["silu"]),
        ("{norm: groupnorm}", "[$norm: 8]", [{"groupnorm": 8}]),
        ("b(a=relu): [$a]", "[b, b: tanh]", ["relu", "tanh"]),
        (
            "b(k, p=k // 2): [maxpool: [$k, $p]]",
            "[b: 5, b: [5, 0]]",
            [{"maxpool": [5, 2]}, {"maxpool": [5, 0]}],
        ),
        (
            "b(k=none): [linear: {out_features: 8, bias: $k}]",
            "[b: false, b]",
            [
                {"linear": {"out_features": 8, "bias": False}},
                {"linear": {"out_features": 8, "bias": None}},
            ],
        ),
        (
            "b(x): [residual: $x]",
            "[b: [[relu, tanh]]]",
            [{"residual": {"layers": ["relu", "tanh"]}}],
        ),
        ("b(x): [$x, tanh]", "[b: [[relu, relu]]]", ["relu", "relu", "tanh"]),
        (
            "a: [relu]",
            "[branches: [[a], []], residual: {layers: [a], shortcut: [a]}]",
            [
                {"branches": [["relu"], []]},
                {"residual": {"layers": ["relu"], "shortcut": ["relu"]}},
            ],
        ),
        (
            "{'b(x)': [branches: $x], 'c(x)': [branches: {branches: $x, combine: sum}], a: [relu]}",
            "[b: [[[a], []]], c: [[[a], [tanh]]]]",
            [
                {"branches": [["relu"], []]},
                {"branches": {"branches": [["relu"], ["tanh"]], "combine": "sum"}},
            ],
        ),
        (
            "{how: product, a: 8}",
            "[branches: {branches: [[], [linear: $a]], combine: $how}]",
            [{"branches": {"branches": [[], [{"linear": 8}]], "combine": "product"}}],
        ),
        (
            "a: [relu]",
            "[repeat: {times: 2, layers: [a]}]",
            [{"repeat": {"times": 2, "layers": ["relu"]}}],
        ),
        ("n: 1", "[tanh, repeat: {times: $(n - 1), layers: [relu]}]", ["tanh"]),
        (
            "n: 2",
            "[repeat: {times: $n, index: i, layers: [relu: {name: r$i}]}]",
            [{"relu": {"name": "r0"}}, {"relu": {"name": "r1"}}],
        ),
        (
            "n: 2",
            (
                "[repeat: {times: $n, index: i, layers: [repeat: {times: $i, index: j, layers: "
                "[dropout: $(i + j)]}]}]"
            ),
            [{"dropout": 1}],
        ),
        (
            "s: 2",
            (
                "[when: {is: $(s == 1), layers: [relu], else: [tanh]}, when: {is: $(s != 2), "
                "layers: [relu]}]"
            ),
            ["tanh"],
        ),
        (
            "b(c, i=2): [dropout: $(c + i)]",
            "[repeat: {times: 1, index: i, layers: [b: $i]}]",
            [{"dropout": 2}],
        ),
    ],
)
def test_what_is_written_out(define: str, written: str, expected: list[Any]) -> None:
    define = define if define.startswith("{") else f"\n  {define}"
    assert layers(f"define: {define}\nlayers: {written}") == expected


def test_names_are_those_of_the_network_written_out() -> None:
    text = (
        "define:\n  @CB@\nlayers: [cb: 8, residual: [cb: 8], relu, global_avgpool, linear: classes]"
    )
    assert [node.name for node in network(text).nodes] == [
        "layers.0",
        "layers.1",
        "layers.2.layers.0",
        "layers.2.layers.1",
        "layers.2",
        "layers.3",
        "layers.4",
        "layers.5",
    ]


def test_a_config_without_templates_is_left_alone() -> None:
    written = [
        {"conv": {"out_channels": 8, "kernel_size": 3}},
        {"repeat": {"times": 2, "layers": ["relu"]}},
        "relu",
        {"branches": {"branches": [["relu"], []]}},
    ]
    assert write_out({"layers": written}, "a") == ({"layers": written}, Places())


def test_what_is_read_back_has_no_templates() -> None:
    text = (
        "{model: {define: {w: 8}, layers: [linear: $w, repeat: {times: 2, index: i, "
        "layers: [relu]}]}}"
    )
    config = validate_config(parse_yaml(text, "a"), "a")
    document = parse_yaml(config_text(config), "b")
    assert document["model"]["layers"] == [
        {"linear": {"out_features": 8, "bias": True}},
        {"relu": {}},
        {"relu": {}},
    ]
    assert set(document["model"]) == {"layers", "init"}
    assert validate_config(document, "b") == config


def test_overrides_count_layers_as_they_are_written_out(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"model:\n  define:\n    w: 8\n    {CB}\n  layers: [cb: $w, cb: $w]")
    config = load_config(path, ["model.layers.2.conv.stride=2", "model.define.w=4"])
    first, second = (config.model.layers[i].arguments() for i in (0, 2))
    assert (first["out_channels"], first["stride"]) == (4, (1, 1))
    assert (second["out_channels"], second["stride"]) == (4, (2, 2))
    config = load_config(path, ["model.layers.1={cb: [2, 1]}"])
    assert config.model.layers[1].arguments()["out_channels"] == 2
