"""Learning rates by depth: the blocks of layers, and their rates.

`tests/nn/test_golden.py` trains a network with them as PyTorch does with parameter groups.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from learnable import config_document, make_pictures
from networks import CASES

from cnn_cli.config import TrainConfig, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.groups import freeze_graph, make_groups
from cnn_cli.optim.layer_decay import blocks_above
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training


def graph_of(text: str, classes: int = 3) -> Graph:
    config = validate_config(parse_yaml(f"model: {{layers: [{text}]}}", "a.yaml"), "a.yaml")
    return build_graph(config.model, (8, 8, 4), classes, "a.yaml")


def blocks_of(graph: Graph) -> list[list[str]]:
    """Return the layers with parameters of each block, from the image."""
    layers = [(above, node) for above, node in zip(blocks_above(graph), graph.nodes, strict=True)]
    owners = [(above, node.name) for above, node in layers if node.layer.params]
    return [[name for _, name in block] for _, block in groupby(owners, lambda each: each[0])]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [  # the same numbers as in timm, except for EfficientNet
        ("vgg16", 16),
        ("resnet18", 10),
        ("resnet50", 18),
        ("convnext-tiny", 23),  # one for each stage's first convolution too
        ("densenet121", 63),
        ("googlenet", 13),
        ("regnet-y-400mf", 18),
        ("efficientnet-b0", 25),  # an inverted bottleneck without a shortcut counts as two
    ],
)
def test_blocks_of_known_networks(name: str, blocks: int) -> None:
    config = validate_config(parse_yaml(network_text(name), name), name)
    above = blocks_above(build_graph(config.model, (224, 224, 3), 1000, name))
    assert above == sorted(above, reverse=True)
    assert sorted(set(above)) == list(range(blocks))


CONV, GROUPED, DEPTHWISE = (
    "conv: {out_channels: 4, kernel_size: 1}",
    "conv: {out_channels: 4, kernel_size: 1, groups: 2}",
    "conv: {out_channels: 4, kernel_size: 1, groups: 4}",
)
HEAD = "global_avgpool, linear: classes"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (HEAD, [["1"]]),
        (f"{CONV}, batchnorm, prelu, {CONV}, {HEAD}", [["0", "1", "2"], ["3"], ["5"]]),
        (f"batchnorm, {CONV}, {HEAD}", [["0", "1"], ["3"]]),
        (f"{CONV}, {DEPTHWISE}, batchnorm, {CONV}, {HEAD}", [["0"], ["1", "2", "3"], ["5"]]),
        (f"{CONV}, {GROUPED}, batchnorm, {HEAD}", [["0"], ["1", "2"], ["4"]]),
        (f"{CONV}, eca, {CONV}, {HEAD}", [["0"], ["1.conv", "2"], ["4"]]),
        (
            f"residual: [{CONV}, relu, {CONV}], relu,"
            f" repeat: {{times: 2, layers: [{CONV}]}}, {HEAD}",
            [["0.layers.0", "0.layers.2"], ["2.0.layers.0"], ["2.1.layers.0"], ["4"]],
        ),
        (
            f"{CONV}, branches: [[{CONV}], []], split: [[{DEPTHWISE}], []], {HEAD}",
            [["0"], ["1.0.0"], ["2.0.0"], ["4"]],
        ),
        (  # a shortcut around two convolutions makes them one block
            f"conv: {{out_channels: 4, kernel_size: 1, name: a}}, {CONV}, {CONV},"
            f" branches: [[], [from: a]], {HEAD}",
            [["a"], ["1", "2"], ["5"]],
        ),
        # After the last block, there is no other.
        (f"{CONV}, batchnorm, {DEPTHWISE}, global_avgpool", [["0", "1", "2"]]),
        (f"{DEPTHWISE}, {HEAD}", [["0", "2"]]),
    ],
)
def test_what_is_a_block(layers: str, expected: list[list[str]]) -> None:
    blocks = blocks_of(graph_of(layers, 3 if "classes" in layers else 4))
    assert [[name.removeprefix("layers.") for name in block] for block in blocks] == expected


def rates(graph: Graph, **keys: Any) -> dict[str, float]:
    """Return the factor of the learning rate by parameter, `None` if frozen."""
    params = Parameters(graph, "float32")
    groups = make_groups(params, TrainConfig.model_validate(keys).rules)
    return {
        f"{node.name.removeprefix('layers.')}.{spec.name}": group.lr_factor
        for node, spec, part in params.parts()
        for group in groups.trained
        if group.part.start <= part.start < group.part.stop
    }


NETWORK = f"{CONV}, batchnorm, relu, {CONV}, {HEAD}"


def test_without_keys_nothing_is_frozen() -> None:
    graph = graph_of(NETWORK, 3)
    assert freeze_graph(graph, TrainConfig().rules, 0) is graph


def test_rates_fall_from_the_last_layer_down() -> None:
    assert rates(graph_of(NETWORK), layer_decay=0.5) == {
        "0.weight": 0.25,
        "0.bias": 0.25,
        "1.weight": 0.25,
        "1.bias": 0.25,
        "3.weight": 0.5,
        "3.bias": 0.5,
        "5.weight": 1.0,
        "5.bias": 1.0,
    }


def test_blocks_move_as_one_group() -> None:
    params = Parameters(graph_of(NETWORK), "float32")
    assert len(make_groups(params, TrainConfig(layer_decay=0.5).rules).trained) == 3
    assert len(make_groups(params, TrainConfig(layer_decay=1.0).rules).trained) == 1


def test_other_keys_multiply_and_what_is_frozen_counts() -> None:
    found = rates(
        graph_of(NETWORK), layer_decay=0.5, freeze=["layers.0.*"], lr_factors={"*.bias": 8.0}
    )
    assert found == {
        "1.weight": 0.25,
        "1.bias": 2.0,
        "3.weight": 0.5,
        "3.bias": 4.0,
        "5.weight": 1.0,
        "5.bias": 8.0,
    }


def test_muon_and_the_optimizer_of_the_rest() -> None:
    optimizer = {"type": "muon", "lr": 0.02, "other": {"type": "adamw", "lr": 0.01}}
    found = rates(graph_of(NETWORK), layer_decay=0.5, optimizer=optimizer)
    assert (found["0.weight"], found["0.bias"], found["5.weight"]) == (0.25, 0.125, 0.5)


def test_a_network_of_many_blocks_has_rates_of_0_at_worst() -> None:
    graph = graph_of(f"repeat: {{times: 400, layers: [{CONV}]}}, {HEAD}")
    assert rates(graph, layer_decay=1e-3)["0.0.layers.0.weight"] == 0.0
    params = Parameters(graph, "float32")
    config = TrainConfig(layer_decay=1e-3)
    optimizer = config.optimizer.make(params, make_groups(params, config.rules))
    before = params.flat.copy()
    optimizer.step(params.flat + 1, 0.1)
    assert (params.views[0]["weight"] == before[:16].reshape(1, 1, 4, 4)).all()
    assert (params.views[-1]["weight"] != 0).all()


def test_the_golden_network_has_the_blocks_that_it_says() -> None:
    case = CASES["layer_decay"]
    config = validate_config({"model": {"layers": case.layers}}, "a.yaml")
    blocks = blocks_of(build_graph(config.model, case.in_shape, case.classes, "a.yaml"))
    assert [
        all(name.startswith(prefixes) for name in block)
        for block, prefixes in zip(blocks, case.blocks, strict=True)
    ] == [True] * len(blocks)


def test_a_plan_says_how_small_the_first_rate_is(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures")
    for decay, expected in (
        (0.5, ("layer_decay: 2 blocks, the lowest of which has 0.5 times the learning rate",)),
        (1.0, ()),
    ):
        config = validate_config(config_document(pictures, layer_decay=decay), "a.yaml")
        plan = plan_training(config, "a.yaml", TrainOptions(out=tmp_path / "run"))
        assert plan.remarks == expected
