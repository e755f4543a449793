"""`from: NAME`: layers that read an earlier one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError, ExitCode
from cnn_cli.nn.context import Workspace
from cnn_cli.nn.graph import Graph, NodeError, read_graph
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.memory import parameter_count
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine

CONV = "conv: {out_channels: 3, kernel_size: 1, name: %s}"


def network(layers: str, *, classes: int = 2) -> Graph:
    config = validate_config(parse_yaml(f"model: {{layers: [{layers}]}}", "a.yaml"), "a.yaml")
    return build_graph(config.model, (4, 4, 3), classes, "a.yaml")


def error(layers: str) -> str:
    with pytest.raises(ConfigError) as caught:
        network(layers)
    assert caught.value.code == ExitCode.CONFIG
    return caught.value.line()


END = "global_avgpool, linear: classes"
SUM = "branches: {branches: [[], [from: %s]], combine: sum}"


def inputs_of(graph: Graph, name: str) -> list[str]:
    node = next(node for node in graph.nodes if node.name == name)
    return [graph.nodes[tensor].name for tensor in node.inputs]


def test_it_adds_no_layer() -> None:
    graph = network(f"relu: {{name: a}}, silu, {SUM % 'a'}, {END}")
    assert [node.layer.kind for node in graph.nodes] == [
        *("relu", "silu", "add", "global_avgpool", "linear"),
    ]
    assert inputs_of(graph, "layers.2") == ["layers.1", "a"]


@pytest.mark.parametrize("name", ["layers.0", "whole", "squeezed", "twice"])
def test_what_can_be_named(name: str) -> None:
    """Layers by name or place; those that contain others stand for their last one."""
    layers = (
        "relu, residual: {layers: [silu], name: whole}, "
        "squeeze_excite: {squeeze_channels: 2, name: squeezed}, "
        "repeat: {times: 2, layers: [tanh], name: twice}, silu"
    )
    graph = network(f"{layers}, {SUM % name}, {END}")
    end = {"twice": "twice.1.layers.0"}.get(name, name)
    assert inputs_of(graph, "layers.5") == ["layers.4", end]


def test_in_a_repeat_it_is_the_same_copys() -> None:
    inner = f"silu: {{name: a}}, tanh, {SUM % 'a'}"
    outer = f"relu: {{name: first}}, repeat: {{times: 2, layers: [{inner}, {SUM % 'first'}]}}"
    graph = network(f"{outer}, {SUM % 'a.0'}, {END}")
    assert inputs_of(graph, "layers.1.1.layers.2") == ["layers.1.1.layers.1", "a.1"]
    assert inputs_of(graph, "layers.1.1.layers.3") == ["layers.1.1.layers.2", "first"]
    assert inputs_of(graph, "layers.2") == ["layers.1.1.layers.3", "a.0"]


def test_a_name_for_what_it_reads() -> None:
    again = f"from: {{layer: a, name: b}}, {SUM % 'layers.2'}, tanh, {SUM % 'b'}"
    graph = network(f"relu: {{name: a}}, silu, {SUM % 'a'}, {again}, {END}")
    assert inputs_of(graph, "layers.4") == ["a", "layers.2"]
    assert inputs_of(graph, "layers.6") == ["layers.5", "a"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (
            "relu: {name: first}, from: frist",
            "model.layers[1].from: must name an earlier layer. Did you mean 'first'? Got 'frist'.",
        ),
        (
            "relu, from: later, tanh: {name: later}",
            "model.layers[1].from: must name an earlier layer. Got 'later'.",
        ),
        (
            "from: a",
            "model.layers[0].from: must name an earlier layer. Got 'a'.",
        ),
        (
            "from: {layer: self, name: self}",
            "model.layers[0].from: must name an earlier layer. Got 'self'.",
        ),
        (
            "residual: {layers: [relu, from: whole], name: whole}",
            "model.layers[0].residual.layers[1].from: must not name a layer that contains it. "
            "Got 'whole'.",
        ),
        (
            f"relu: {{name: a}}, tanh, from: a, {END}",
            "model.layers[1].tanh: a layer behind it must read its output.",
        ),
        (
            f"relu: {{name: a}}, {END}, relu, from: layers.2",
            "model.layers[3].relu: a layer behind it must read its output.",
        ),
        (
            "relu: {name: a}, repeat: {times: 2, name: a, layers: [relu]}",
            "model.layers[1].repeat: names must be unique in the network. Got 'a'.",
        ),
        (
            f"relu: {{name: a}}, maxpool: 2, {SUM % 'a'}, {END}",
            "model.layers[2].branches: a sum needs equal shapes, not 2x2x3 and 4x4x3. "
            "Got an input of 2x2x3 and 4x4x3.",
        ),
    ],
)
def test_errors(layers: str, expected: str) -> None:
    assert error(layers) == f"a.yaml: {expected}"


def test_a_stored_network_whose_output_nobody_reads() -> None:
    document = network(f"relu, tanh, {END}").plain()
    assert read_graph(document).nodes[1].layer.kind == "tanh"
    document["nodes"][1]["inputs"] = [-1]
    with pytest.raises(NodeError, match=r"nodes\[0\]: another node must read its output"):
        read_graph(document)


def test_memory_is_given_back() -> None:
    """A tensor is kept until its last reader, and no longer."""
    graph = network(
        f"{CONV % 'a'}, relu, {CONV % 'b'}, batchnorm, {SUM % 'a'}, silu, {SUM % 'b'}, {END}"
    )
    params = Parameters(graph, "float32")
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype("float32")
    targets, divisor = target_weights(np.arange(6) % 2, 2, dtype="float32")
    with TrainingEngine(graph, params, threads=2) as engine:
        held = []
        for step in range(3):
            engine.train_step(x, targets, divisor, step=step)
            engine.predict(x)
            held.append([space.nbytes for space in engine.workspaces])
        assert held[1] == held[2]
        assert all(
            isinstance(space, Workspace) and space.in_use == 0 for space in engine.workspaces
        )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ecaresnet26t", 16_011_916),
        ("ese_vovnet19b_dw", 6_543_080),
        ("hrnet_w18_small", 13_187_464),
        ("resnetv2_50x1_bit", 25_549_352),
    ],
)
def test_published_networks_that_are_no_chains(name: str, parameters: int) -> None:
    """`tests/weights/compare_networks.py` compares their scores with timm's."""
    path = Path(__file__).parent.parent / "weights" / "timm" / f"{name}.yaml"
    graph = build_graph(load_config(path).model, (64, 64, 3), 1000, name)
    assert parameter_count(graph) == parameters
