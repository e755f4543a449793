"""A network stored as plain data is read back unchanged, and nothing in a file is trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from networks import CASES

from cnn_cli.config import load_config, validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.errors import DataError
from cnn_cli.nn.graph import Graph, NodeError, read_graph
from cnn_cli.runs.stored_network import network_facts, stored_network

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))
LAYERS: list[Any] = [
    {"conv": {"out_channels": 8, "kernel_size": 3, "padding": "same", "init": "whitening"}},
    "batchnorm",
    {"leaky_relu": 0.2},
    {"maxpool": 2},
    {"residual": {"layers": [{"conv": {"out_channels": 8, "kernel_size": 1}}], "drop_path": 0.1}},
    {"squeeze_excite": 4},
    {"branches": [["relu"], [{"avgpool": {"kernel_size": 3, "stride": 1, "padding": 1}}]]},
    {"dropout": 0.2},
    "global_avgpool",
    {"linear": "classes"},
]


def example() -> Graph:
    config = validate_config({"model": {"layers": LAYERS}}, "example")
    return build_graph(config.model, (8, 8, 3), 4, "example")


def through_json(graph: Graph) -> Any:
    return json.loads(json.dumps(graph.plain()))


def described(graph: Graph) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for node in graph.nodes:
        layer = node.layer
        shapes = (layer.in_shape, layer.out_shape, layer.params, layer.buffers)
        found.append((node.index, node.name, layer.kind, node.inputs, *shapes, layer.path))
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_layer_comes_back(name: str) -> None:
    case = CASES[name]
    config = validate_config({"model": {"layers": case.layers}}, name)
    graph = build_graph(config.model, case.in_shape, case.classes, name)
    assert described(read_graph(through_json(graph))) == described(graph)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_network_comes_back(path: Path) -> None:
    config = load_config(path)
    graph = build_graph(config.model, (*config.data.image_size, config.data.channels), 10, "x")
    found = read_graph(through_json(graph))
    assert described(found) == described(graph)
    assert (found.in_shape, found.classes) == (graph.in_shape, graph.classes)
    assert through_json(found) == through_json(graph)


def test_every_kind_of_node_comes_back() -> None:
    graph = example()
    assert described(read_graph(through_json(graph))) == described(graph)


def _node(number: int, key: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["nodes"][number][key] = value

    return change


def _argument(number: int, key: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["nodes"][number]["arguments"][key] = value

    return change


def _top(key: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_top("in_shape", [8, 8]), "in_shape must be three whole numbers above 0"),
        (_top("in_shape", [8, 8, -3]), "in_shape must be three whole numbers above 0"),
        (_top("in_shape", "8"), "in_shape must be three whole numbers above 0"),
        (_top("classes", 5), "the network must end in one score per class"),
        (_top("classes", "4"), "the network must end in one score per class"),
        (_top("nodes", []), "nodes must be a list"),
        (_top("nodes", {"a": 1}), "nodes must be a list"),
        (_top("nodes", [3]), "nodes[0]: must be a mapping of name, kind, inputs, arguments"),
        (_node(0, "name", ""), "nodes[0]: name and kind must be words"),
        (_node(0, "name", 3), "nodes[0]: name and kind must be words"),
        (_node(1, "name", "layers.0"), "nodes[1]: names must be unique in the network"),
        (_node(0, "kind", "os.system"), "nodes[0]: no such layer"),
        (_node(0, "kind", "base"), "nodes[0]: no such layer"),
        (_node(0, "inputs", []), "nodes[0]: inputs must be a list, and arguments a mapping"),
        (_node(0, "inputs", [0]), "nodes[0]: inputs must be nodes before it"),
        (_node(1, "inputs", [-2]), "nodes[1]: inputs must be nodes before it"),
        (_node(1, "inputs", [True]), "nodes[1]: inputs must be nodes before it"),
        (_node(1, "inputs", [0, 0]), "nodes[1]: batchnorm has one input"),
        (_node(0, "arguments", [1]), "nodes[0]: inputs must be a list, and arguments a mapping"),
        (_argument(0, "path", "taps"), "nodes[0]: conv takes no such argument"),
        (_argument(0, "out_channels", 0), "nodes[0]: out_channels of conv is out of bounds"),
        (_argument(0, "out_channels", "8"), "nodes[0]: out_channels of conv is out of bounds"),
        (_argument(0, "kernel_size", [3]), "nodes[0]: kernel_size of conv is out of bounds"),
        (_argument(0, "kernel_size", [1.5, 3]), "nodes[0]: kernel_size of conv is out of bounds"),
        (_argument(0, "padding", [-1, 0]), "nodes[0]: padding of conv is out of bounds"),
        (_argument(0, "init", {"type": "x"}), "nodes[0]: init of conv is out of bounds"),
        (_argument(1, "eps", float("nan")), "nodes[1]: eps of batchnorm is out of bounds"),
        (_argument(1, "eps", True), "nodes[1]: eps of batchnorm is out of bounds"),
        (_argument(3, "ceil_mode", 1), "nodes[3]: ceil_mode of maxpool is out of bounds"),
        (_argument(3, "padding", [2, 2]), "nodes[3]: padding must be at most half of kernel_size"),
    ],
)
def test_a_document_that_is_no_network(change: Callable[[Any], None], rule: str) -> None:
    document = through_json(example())
    change(document)
    with pytest.raises(NodeError) as caught:
        read_graph(document)
    assert caught.value.rule == rule


@pytest.mark.parametrize("document", [None, 3, [], {}, {"nodes": []}])
def test_a_document_of_another_kind(document: Any) -> None:
    with pytest.raises(NodeError, match="must hold in_shape, classes and nodes"):
        read_graph(document)


def meta() -> dict[str, Any]:
    return {
        "config": {},  # it is not needed
        "preprocess": {"height": 8, "width": 8, "channels": 3, "resize_mode": "crop"},
        "classes": ["a", "b", "c", "d"],
        **network_facts(example(), "float32"),
    }


def test_the_config_is_not_needed() -> None:
    graph, dtype = stored_network(json.loads(json.dumps(meta())), "x.npz")
    assert described(graph) == described(example())
    assert dtype == "float32"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("classes", ["a", "b"], "x.npz: meta.network must be for its images and classes."),
        ("network", 3, "x.npz: meta.network: must hold in_shape, classes and nodes."),
    ],
)
def test_a_network_of_something_else(key: str, value: Any, line: str) -> None:
    document = deepcopy(meta()) | {key: value}
    with pytest.raises(DataError) as caught:
        stored_network(document, "x.npz")
    assert caught.value.line() == line


def test_numbers_of_another_type() -> None:
    document = deepcopy(meta())
    document["network"]["dtype"] = "object"
    with pytest.raises(DataError) as caught:
        stored_network(document, "x.npz")
    assert caught.value.line() == "x.npz: meta.network.dtype must be float32 or float64."
