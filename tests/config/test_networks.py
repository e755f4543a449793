"""The built-in networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fingerprint import fingerprint

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import arguments_of, find_network, network_names, network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.memory import parameter_count

CONFIGS = Path(__file__).parent.parent.parent / "configs"
# The configs before they were written in blocks.
BEFORE = {
    "efficientnet-lite0": "2fa97ebf2cf5a3e5",
    "mobilenetv2": "67c3d6ca917d0285",
    "resnet18": "ab615c54e1954fc2",
    "resnet50": "46cca1661e185b05",
}
# At 1000 classes, as torchvision counts them.
PARAMETERS = {
    "alexnet": 61_100_840,
    "convnext-tiny": 28_589_128,
    "densenet121": 7_978_856,
    "efficientnet-b0": 5_288_548,
    "efficientnet-lite0": 4_652_008,
    "efficientnet-lite1": 5_416_680,
    "efficientnet-lite2": 6_092_072,
    "efficientnet-v2-s": 21_458_488,
    "googlenet": 6_624_904,
    "inception-v3": 23_834_568,
    "mnasnet": 4_383_312,
    "mobilenet-v2": 3_504_872,
    "mobilenet-v3": 5_483_032,
    "regnet-x-400mf": 5_495_976,
    "regnet-y-400mf": 4_344_144,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnext50": 25_028_904,
    "shufflenet-v2": 2_278_604,
    "squeezenet": 1_235_496,
    "vgg11": 132_863_336,
    "vgg11-bn": 132_868_840,
    "vgg16": 138_357_544,
    "vgg16-bn": 138_365_992,
    "wide-resnet50": 68_883_240,
}


def network(**arguments: object) -> Graph:
    config = validate_config({"model": {"network": arguments}}, "a.yaml")
    return build_graph(config.model, (224, 224, 3), 1000, "a.yaml")


@pytest.mark.parametrize("name", BEFORE)
def test_written_in_blocks_a_network_is_the_same(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    config = load_config(path)
    graph = build_graph(config.model, (224, 224, 3), 1000, str(path))
    assert fingerprint(graph) == BEFORE[name]


@pytest.mark.parametrize("name", network_names())
def test_sizes(name: str) -> None:
    assert parameter_count(network(name=name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", network_names())
def test_each_is_a_config_that_says_what_it_is(name: str) -> None:
    text = network_text(name)
    assert text.startswith("# ")
    assert len(text.partition("\n")[0]) <= 65
    config = validate_config(parse_yaml(text, name), name)
    graph = build_graph(config.model, (224, 224, 3), 1000, name)
    assert fingerprint(graph) == fingerprint(network(name=name))


@pytest.mark.parametrize("name", network_names())
def test_arguments(name: str) -> None:
    arguments = arguments_of(name)
    if "width" in arguments:
        narrow = parameter_count(network(name=name, width=0.5))
        assert narrow < 0.97 * PARAMETERS[name]  # some heads do not change
    if "drop_path" in arguments:
        kinds = [node.layer.kind for node in network(name=name, drop_path=0.2).nodes]
        assert "drop_path" in kinds
    assert arguments["classes"] == "classes"
    assert network(name=name, classes=1000).classes == 1000


def test_names_may_be_spelt_otherwise() -> None:
    assert find_network("MobileNet_V2") == "mobilenet-v2"
    assert find_network("wide_resnet50") == "wide-resnet50"
    assert find_network("resnet") is None


def test_one_may_stand_for_another_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: {define: {w: 3}, layers: [dropout: $w]}")
    config = load_config(path, ["model.network=resnet18", "model.network.n1=1"])
    assert config.model.layers[4].kind == "repeat"
    config = load_config(path, ["model.network=resnet18", "model.layers.2=tanh"])
    assert config.model.layers[2].kind == "tanh"
    path.write_text("model: {network: resnet18}")
    config = load_config(path, ["model.layers=[tanh]"])
    assert len(config.model.layers) == 1
