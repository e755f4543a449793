"""The benchmark networks have the sizes that their names suggest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmark_networks import LITE0, NETWORKS, SEED

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.nn.memory import parameter_count

CONFIGS = Path(__file__).parent.parent.parent / "configs"
PARAMETERS = {
    "seed-32": 97_440 + 3 * 4608 + 3,
    "seed-4": 97_440 + 3 * 4608 + 3,
    "lenet": 421_642,
    "vgg": 288_746,
    "resnet20": 272_474,  # with projections; 269,722 without
    "speedrun": 1_972_802,
    "resnet18": 11_689_512,  # as in torchvision
    "lite0-upper": 4_652_008 - (1000 - 4) * 1281,
    "seed-predict": 97_440 + 3 * 4608 + 3,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name: str) -> None:
    network = NETWORKS[name]
    config = validate_config({"model": {"layers": network.layers}}, name)
    graph = build_graph(config.model, network.in_shape, network.classes, name)
    assert parameter_count(graph) == PARAMETERS[name]


def test_seed_is_the_configs() -> None:
    """Except for its dropout, which takes no noticeable time."""
    model = validate_config({"model": {"layers": SEED}}, "seed").model
    layers = load_config(CONFIGS / "seed.yaml").model.layers
    assert [layer for layer in layers if layer.kind != "dropout"] == list(model.layers)


def test_lite0_is_the_one_that_comes_along() -> None:
    """Layer by layer, except for its dropout and the names of layers in a repeat."""

    def layers(model: dict[str, Any]) -> list[tuple[str, Any]]:
        config = validate_config({"model": model}, "lite0")
        graph = build_graph(config.model, (224, 224, 3), 4, "lite0")
        nodes = [node for node in graph.nodes if node.layer.kind != "dropout"]
        return [(node.layer.kind, vars(node.layer)) for node in nodes]

    ours = layers({"layers": LITE0})
    theirs = layers({"network": "efficientnet-lite0"})
    assert str(ours) == str(theirs)
