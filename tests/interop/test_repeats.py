"""Equal blocks of a derived network as `repeat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_networks import graph_of
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_cli.interop.derive.repeats import with_repeats
from cnn_cli.nn.graph import Graph


def conv(channels: int, **arguments: Any) -> Any:
    return {"conv": {"out_channels": channels, "kernel_size": 1, **arguments}}


def residual(*layers: Any) -> Any:
    return {"residual": {"layers": list(layers)}}


def repeat(times: int, *layers: Any) -> Any:
    return {"repeat": {"times": times, "layers": list(layers)}}


RELU: Any = {"relu": {}}
TANH: Any = {"tanh": {}}
BLOCK = residual(conv(6), RELU, conv(6))
LINEAR: Any = {"linear": {"out_features": "classes"}}
END: list[Any] = [{"global_avgpool": {}}, LINEAR]


def arithmetic_of(graph: Graph) -> list[Any]:
    """What the nodes compute, in their order, without their names."""
    return [
        (node.layer.kind, node.inputs, dict(node.arguments), [p.shape for p in node.layer.params])
        for node in graph.nodes
    ]


def check(layers: list[Any], expected: list[Any]) -> None:
    found = with_repeats([*layers, *END])
    assert found == [*expected, *END]
    assert arithmetic_of(graph_of(found)) == arithmetic_of(graph_of([*layers, *END]))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], []),
        ([conv(6), RELU, BLOCK, RELU], [conv(6), RELU, BLOCK, RELU]),
        ([conv(6), BLOCK, BLOCK, BLOCK, RELU], [conv(6), repeat(3, BLOCK), RELU]),
        # Two of two layers would be as long with a repeat.
        ([conv(6), RELU, conv(6), RELU], [conv(6), RELU, conv(6), RELU]),
        ([conv(6), RELU, conv(6), RELU, conv(6), RELU], [repeat(3, conv(6), RELU)]),
        # Stages differ, as do their numbers of blocks.
        (
            [conv(6), BLOCK, RELU, BLOCK, RELU, BLOCK, TANH, BLOCK, TANH],
            [conv(6), repeat(2, BLOCK, RELU), repeat(2, BLOCK, TANH)],
        ),
        # A block begins with the residual, although an activation stands before it.
        (
            [conv(6), RELU, BLOCK, RELU, BLOCK, RELU],
            [conv(6), RELU, repeat(2, BLOCK, RELU)],
        ),
        # But the last one may lack what follows.
        (
            [conv(6), RELU, BLOCK, RELU, BLOCK],
            [conv(6), repeat(2, RELU, BLOCK)],
        ),
        (
            [conv(6), residual(*[conv(6), RELU] * 3), residual(*[conv(6), RELU] * 3)],
            [conv(6), repeat(2, residual(repeat(3, conv(6), RELU)))],
        ),
        (
            [{"branches": {"branches": [[conv(6), RELU] * 3, []], "combine": "concat"}}],
            [{"branches": {"branches": [[repeat(3, conv(6), RELU)], []], "combine": "concat"}}],
        ),
        (
            [conv(6), {"residual": {"layers": [RELU], "shortcut": [conv(6), RELU] * 3}}],
            [conv(6), {"residual": {"layers": [RELU], "shortcut": [repeat(3, conv(6), RELU)]}}],
        ),
    ],
)
def test_equal_blocks(layers: list[Any], expected: list[Any]) -> None:
    check(layers, expected)


def named_block(name: str, source: str) -> list[Any]:
    both = {"branches": [[], [{"from": {"layer": source}}]], "combine": "sum"}
    return [conv(6, name=name), RELU, conv(6), {"branches": both}]


def test_names_within_a_block_do_not_matter() -> None:
    blocks = [*named_block("a", "a"), *named_block("b", "b"), *named_block("c", "c")]
    check([conv(6), *blocks], [conv(6), repeat(3, *named_block("a", "a"))])


def test_a_layer_before_all_blocks_may_be_read() -> None:
    blocks = [*named_block("a", "stem"), *named_block("b", "stem")]
    stem = conv(6, name="stem")
    check([stem, *blocks], [stem, repeat(2, *named_block("a", "stem"))])


def test_what_is_read_from_outside_is_not_folded() -> None:
    blocks = [*named_block("a", "a"), *named_block("b", "b")]
    both = {"branches": [[], [{"from": {"layer": "a"}}]], "combine": "concat"}
    check([conv(6), *blocks, {"branches": both}], [conv(6), *blocks, {"branches": both}])


def test_a_block_that_reads_the_one_before_it_is_not_folded() -> None:
    layers = [conv(6, name="a"), *named_block("b", "a"), *named_block("c", "b")]
    check(layers, layers)


def test_as_many_as_a_repeat_may_have() -> None:
    layers = [conv(6)] * 2500
    found = with_repeats(layers)
    assert max(each["repeat"]["times"] for each in found if "repeat" in each) <= 1000
    assert len(found) < 5
    assert arithmetic_of(graph_of([*found, *END])) == arithmetic_of(graph_of([*layers, *END]))


blocks = st.recursive(
    st.sampled_from([RELU, TANH, conv(6), conv(6, groups=2)]),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda some: residual(*some)),
    max_leaves=4,
)
runs = st.lists(
    st.tuples(st.lists(blocks, min_size=1, max_size=3), st.integers(1, 4)).map(
        lambda run: run[0] * run[1]
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(runs)
def test_a_network_stays_the_same(found: list[list[Any]]) -> None:
    layers = [conv(6), *(layer for run in found for layer in run), *END]
    folded = with_repeats(layers)
    assert arithmetic_of(graph_of(folded)) == arithmetic_of(graph_of(layers))


def test_what_is_exported_with_repeats_has_them_again(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from onnx_files import imported, layers_of
    from test_onnx_export import classifier_of

    from cnn_cli.interop.export.onnx_export import to_onnx

    layers = [conv(6), "relu", repeat(3, residual(conv(6), "relu", conv(6)), "relu"), *END]
    classifier = classifier_of(layers, (5, 4, 3), 4)
    path = tmp_path / "net.onnx"
    path.write_bytes(to_onnx(classifier, preprocessing=False, fold=False))
    found, report = imported(path)
    kinds = [next(iter(layer)) for layer in layers_of(found)]
    assert kinds == ["conv", "relu", "repeat", "global_avgpool", "linear"]
    assert layers_of(found)[2]["repeat"]["times"] == 3
    assert list(report.pairs) == [node.name for node in classifier.graph.nodes if node.layer.params]
