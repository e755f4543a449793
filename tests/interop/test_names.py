"""Layers matched by the names of well-known networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import arrays_of, graph_of, random_parameters, renamed

from cnn_cli import interop
from cnn_cli.config import load_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import DataError
from cnn_cli.interop.assemble import Standardization, assemble
from cnn_cli.interop.foreign import Foreign, Module, modules_by_name
from cnn_cli.interop.match_names import in_order, match_map, match_names
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def network(name: str) -> Graph:
    path = CONFIGS / f"{name}.yaml"
    config = load_config(path)
    return build_graph(config.model, (64, 64, 3), 5, str(path))


def resnet(blocks: list[int], convolutions: int) -> list[str]:
    """Return torchvision's and timm's layers of a ResNet, in the order of execution."""
    names = ["conv1", "bn1"]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            place = f"layer{stage}.{block}"
            for i in range(1, convolutions + 1):
                names += [f"{place}.conv{i}", f"{place}.bn{i}"]
            if block == 0 and (stage > 1 or convolutions == 3):
                names += [f"{place}.downsample.0", f"{place}.downsample.1"]
    return [*names, "fc"]


MOBILENET = [(1, 1), (6, 2), (6, 3), (6, 4), (6, 3), (6, 3), (6, 1)]
LITE0 = [(1, 1), (6, 2), (6, 2), (6, 3), (6, 3), (6, 4), (6, 1)]


def torchvision_mobilenet() -> list[str]:
    names, number = ["features.0.0", "features.0.1"], 1
    for widening, count in MOBILENET:
        for _ in range(count):
            place, parts = f"features.{number}.conv", 0
            for _ in range(1 if widening == 1 else 2):
                names += [f"{place}.{parts}.0", f"{place}.{parts}.1"]
                parts += 1
            names += [f"{place}.{parts}", f"{place}.{parts + 1}"]
            number += 1
    return [*names, f"features.{number}.0", f"features.{number}.1", "classifier.1"]


def timm(stages: list[tuple[int, int]]) -> list[str]:
    names = ["conv_stem", "bn1"]
    for stage, (widening, count) in enumerate(stages):
        parts = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if widening == 1:
            parts = ["conv_dw", "bn1", "conv_pw", "bn2"]
        names += [f"blocks.{stage}.{i}.{part}" for i in range(count) for part in parts]
    return [*names, "conv_head", "bn2", "classifier"]


def efficientnet_pytorch() -> list[str]:
    names, number = ["_conv_stem", "_bn0"], 0
    for widening, count in LITE0:
        for _ in range(count):
            parts = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
            if widening > 1:
                parts = ["_expand_conv", "_bn0", *parts]
            names += [f"_blocks.{number}.{part}" for part in parts]
            number += 1
    return [*names, "_conv_head", "_bn1", "_fc"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ("resnet18", resnet([2, 2, 2, 2], 2)),
        ("resnet50", resnet([3, 4, 6, 3], 3)),
        ("mobilenetv2", torchvision_mobilenet()),
        ("mobilenetv2", timm(MOBILENET)),
        ("efficientnet-lite0", timm(LITE0)),
        ("efficientnet-lite0", efficientnet_pytorch()),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_known_networks(config: str, names: list[str], prefix: str) -> None:
    graph = network(config)
    params = Parameters(graph, "float32")
    foreign = renamed(params, [prefix + name for name in names])
    pairs, rule = match_names(graph, foreign)
    assert rule == "known names"
    nodes = [node.index for node in graph.nodes if node.layer.params]
    expected = dict(zip(nodes, (prefix + name for name in names), strict=True))
    assert {index: module.name for index, module in pairs.items()} == expected


SQUEEZED: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "bias": False}},
    "batchnorm",
    {"squeeze_excite": 2},
    {"conv": {"out_channels": 4, "kernel_size": 1, "bias": False}},
    "batchnorm",
    "global_avgpool",
    {"linear": "classes"},
]


def test_squeeze_excite_of_1x1_convolutions() -> None:
    graph = graph_of(SQUEEZED)
    params = random_parameters(graph)
    names = ["conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"]
    names = [f"blocks.0.0.{name}" for name in names]
    foreign = renamed(params, [*names, "classifier"])
    arrays = {
        f"{module.name}.{param}": array[..., None, None]
        if ".se." in module.name and param == "weight"
        else array
        for module in foreign.modules
        for param, array in module.arrays.items()
    }
    foreign = Foreign("weights", modules_by_name(arrays))
    pairs, _ = match_names(graph, foreign)
    found, notes = assemble(graph, foreign, pairs, {})
    assert notes == []
    for name, array in arrays_of(params).items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("gamma", [None, 1.7])
def test_standardized_weights(gamma: float | None) -> None:
    """As timm's StdConv2d and, with a gain, ScaledStdConv2d compute them in every pass."""
    layers = [{"conv": {"out_channels": 6, "kernel_size": 3, "groups": 3}}, "relu", {"linear": 4}]
    graph = graph_of(layers)
    rng = np.random.default_rng(1)
    weight, gain = rng.normal(1, 2, (6, 1, 3, 3)), rng.uniform(0.5, 2, (6, 1, 1, 1))
    arrays = arrays_of(random_parameters(graph))
    named = {"conv1.weight": weight, "conv1.bias": arrays["layers.0/bias"]}
    named |= {"fc.weight": arrays["layers.2/weight"], "fc.bias": arrays["layers.2/bias"]}
    named |= {} if gamma is None else {"conv1.gain": gain}
    foreign = Foreign("weights", modules_by_name(named))
    pairs, _ = match_names(graph, foreign)
    standardization = Standardization(0.1) if gamma is None else Standardization(0.1, gamma)
    found, notes = assemble(graph, foreign, pairs, {}, standardization)
    assert notes == ["convolutions' weights standardized: 1"]
    for i, each in enumerate(weight):
        expected = (each - each.mean()) / np.sqrt(each.var() + 0.1)
        if gamma is not None:
            expected = expected * gain[i] * gamma / 3  # for 9 inputs
        np.testing.assert_allclose(found["layers.0/weight"][i], expected, rtol=1e-12)
    np.testing.assert_array_equal(found["layers.2/weight"], named["fc.weight"])


def test_a_gain_that_is_not_of_the_filters() -> None:
    graph = graph_of(PLAIN)
    foreign = Foreign("weights", modules_by_name(plain_arrays(conv1__gain=np.ones(5))))
    for standardization in (None, Standardization(1e-6)):
        with pytest.raises(DataError, match=r"Got extra conv1\.gain"):
            assemble(graph, foreign, match_names(graph, foreign)[0], {}, standardization)


PLAIN: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "bias": False}},
    {"batchnorm": {"name": "norm"}},
    "relu",
    {"linear": "classes"},
]


def message(layers: list[Any], arrays: dict[str, Any]) -> str:
    graph = graph_of(layers)
    foreign = Foreign("weights", modules_by_name(arrays))
    with pytest.raises(DataError) as caught:
        assemble(graph, foreign, match_names(graph, foreign)[0], {})
    return caught.value.line()


def plain_arrays(**changes: Any) -> dict[str, Any]:
    arrays = {
        "conv1.weight": np.ones((6, 3, 3, 3)),
        "bn1.weight": np.ones(6),
        "bn1.bias": np.ones(6),
        "bn1.running_mean": np.ones(6),
        "bn1.running_var": np.ones(6),
        "bn1.num_batches_tracked": np.array(3),
        "fc.weight": np.ones((4, 294)),
        "fc.bias": np.ones(4),
    }
    arrays |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            plain_arrays(bn1__bias=None, fc__scale=np.ones(3), fc__weight=np.ones((5, 294))),
            "arrays must be the network's. Got missing bn1.bias for norm/bias; extra fc.scale; "
            "misshapen fc.weight of shape (5, 294), not (4, 294) as layers.3/weight.",
        ),
        (
            plain_arrays(fc__bias=np.array([1, 2, np.nan, 4])),
            "arrays must be the network's. Got not of finite numbers fc.bias.",
        ),
        (
            plain_arrays(fc__weight=None, fc__bias=None),
            "must hold arrays for 3 layers. Got 2: missing layers.3 (linear).",
        ),
        (
            plain_arrays(layer1__0__bn1__running_mean=np.ones(1)),
            "layers must follow each other as in the config. "
            "Got layer1.0.bn1 (norm) where layers.3 (linear) should be.",
        ),
        (
            plain_arrays(stem__weight=np.ones((1, 1, 1, 1))),
            "layers must have the names of a known network; give --map FILE that says which is "
            "which. Got conv1, bn1, fc, stem.",
        ),
    ],
)
def test_what_does_not_fit(arrays: dict[str, Any], expected: str) -> None:
    assert message(PLAIN, arrays) == f"weights: {expected}"


def test_the_networks_own_names() -> None:
    graph = graph_of(PLAIN)
    params = random_parameters(graph)
    foreign = Foreign("weights", modules_by_name(arrays_of(params)))
    pairs, rule = match_names(graph, foreign)
    assert rule == "the network's own names"
    found, _ = assemble(graph, foreign, pairs, {})
    for name, array in arrays_of(params).items():
        np.testing.assert_array_equal(found[name], array)


def test_a_map() -> None:
    graph = graph_of(PLAIN)
    foreign = Foreign("weights", modules_by_name(plain_arrays()))
    mapping = {"layers.0": "conv1", "norm": "bn1", "layers.3": "fc"}
    pairs = match_map(graph, foreign, mapping, "map.yaml")
    assert [module.name for module in pairs.values()] == ["conv1", "bn1", "fc"]


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (
            {"layers.0": "conv1", "layers.3": "fc"},
            "must name every layer that has arrays. Got none of norm.",
        ),
        (
            {"layer.0": "conv1"},
            "no layer of the network with arrays is called so. Did you mean 'layers.0'? "
            "Got layer.0.",
        ),
        ({"norm": "bn2"}, "no layer of weights is called so. Did you mean 'bn1'? Got bn2."),
    ],
)
def test_a_wrong_map(mapping: dict[str, str], expected: str) -> None:
    foreign = Foreign("weights", modules_by_name(plain_arrays()))
    with pytest.raises(DataError) as caught:
        match_map(graph_of(PLAIN), foreign, mapping, "map.yaml")
    assert caught.value.line() == f"map.yaml: {expected}"


def test_a_bias_before_a_batchnorm_goes_into_its_mean() -> None:
    graph = graph_of(PLAIN)
    foreign = Foreign("weights", modules_by_name(plain_arrays(conv1__bias=np.arange(6.0))))
    pairs, _ = match_names(graph, foreign)
    found, notes = assemble(graph, foreign, pairs, {})
    np.testing.assert_array_equal(found["norm/running_mean"], 1 - np.arange(6.0))
    assert notes == ["biases before batchnorm taken into running means: 1"]


def names_of_torchvision() -> dict[str, list[str]]:
    """Return the layers of torchvision's networks, in the order of this program's; see
    `tests/weights`.
    """
    lines = (Path(interop.__file__).parent / "torchvision_names.txt").read_text().splitlines()
    return {name: [word.rstrip("^") for word in words] for name, *words in map(str.split, lines)}


@pytest.mark.parametrize("name", names_of_torchvision())
def test_names_of_torchvision_in_any_order(name: str) -> None:
    names = names_of_torchvision()[name]
    modules = tuple(Module(f"module.{each}", "other", {}) for each in sorted(names))
    found = in_order(Foreign("weights", modules))
    assert [module.name.removeprefix("module.") for module in found] == names


def test_the_order_of_the_file(tmp_path: Path) -> None:
    """For unknown names, if shapes allow only one match."""
    graph = graph_of(
        [
            {"conv": {"out_channels": 4, "kernel_size": 3}},
            "relu",
            "global_avgpool",
            {"linear": "classes"},
        ]
    )
    params = random_parameters(graph)
    foreign = renamed(params, ["zeta", "alpha"])
    with pytest.raises(DataError, match="layers must have the names of a known network"):
        match_names(graph, foreign)
    pairs, rule = match_names(graph, replace(foreign, modules=foreign.modules[::-1]))
    assert rule == "the file's own order"
    assert [module.name for module in pairs.values()] == ["zeta", "alpha"]
