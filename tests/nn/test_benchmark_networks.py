"""The benchmarks' networks are what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_networks import NETWORKS, SEED

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
    "seed-predict": 97_440 + 3 * 4608 + 3,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name: str) -> None:
    network = NETWORKS[name]
    config = validate_config({"model": {"layers": network.layers}}, name)
    graph = build_graph(config.model, network.in_shape, network.classes, name)
    assert parameter_count(graph) == PARAMETERS[name]


def test_seed_is_the_configs() -> None:
    """But for its dropout, which costs no time to speak of."""
    model = validate_config({"model": {"layers": SEED}}, "seed").model
    layers = load_config(CONFIGS / "seed.yaml").model.layers
    assert [layer for layer in layers if layer.kind != "dropout"] == list(model.layers)
