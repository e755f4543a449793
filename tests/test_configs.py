"""The included configs: known networks have exactly the known sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnn_cli.config import load_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.memory import parameter_count
from cnn_cli.nn.plan import uses_float64_sums

CONFIGS = Path(__file__).parent.parent / "configs"
PAGES = CONFIGS.parent / "cnn_cli" / "docs"
MULTIPLY_ADDS = {
    "resnet18": 1_814_073_344,
    "resnet50": 4_089_184_256,
    "mobilenetv2": 300_774_272,
    "efficientnet-lite0": 385_187_552,
}


def network(name: str, classes: int = 1000) -> Graph:
    path = CONFIGS / f"{name}.yaml"
    config = load_config(path)
    in_shape = (*config.data.image_size, config.data.channels)
    return build_graph(config.model, in_shape, classes, str(path))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("mobilenetv2", 3_504_872),
        ("efficientnet-lite0", 4_652_008),
    ],
)
def test_known_networks_have_the_references_parameters(name: str, parameters: int) -> None:
    graph = network(name)
    assert parameter_count(graph) == parameters
    convolutions = [node.layer for node in graph.nodes if node.layer.kind in ("conv", "linear")]
    assert sum(layer.muladds for layer in convolutions) == MULTIPLY_ADDS[name]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_builds(path: Path) -> None:
    graph = network(path.stem, classes=10)
    assert graph.nodes[-1].layer.out_shape == (10,)


def test_the_page_names_configs_with_the_same_weights_for_any_number_of_ranks() -> None:
    page = (PAGES / "several-machines.md").read_text(encoding="utf-8")
    sentence = page[page.index("Networks that compute much") : page.index("sum in float64")]
    named = re.findall(r"`(\S+)\.yaml`", sentence)
    assert len(named) > 1
    for name in named:
        batch_size = load_config(CONFIGS / f"{name}.yaml").train.batch_size
        assert uses_float64_sums(network(name, classes=10), 4, batch_size), name
