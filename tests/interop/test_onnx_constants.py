"""What an ONNX graph computes from constants, before there is an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import around, constant, imported, node, write

from cnn_cli.interop.readers.onnx_constants import FOLDED, REDUCED
from cnn_cli.nn.types import Array

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def eight(values: Any, kind: str = "f4") -> Array:
    return np.resize(np.array(values, kind), (8, 1, 1))


# What makes eight numbers `k` of constants.
COMPUTED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{
        word: ([node(word, "c", "k")], {"c": eight([-1.5, -0.5, 0.5, 1.5, 2.5])})
        for word in ("Abs", "Ceil", "Exp", "Floor", "Identity", "Neg", "Reciprocal", "Round")
    },
    **{word: ([node(word, "c", "k")], {"c": eight([0.5, 1.5, 2.5])}) for word in ("Log", "Sqrt")},
    **{
        word: ([node(word, "c d", "k")], {"c": eight([0.5, 2]), "d": constant([[[1.5]]])})
        for word in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
    },
    **{
        word: (
            [node(word, "c d", "mask"), node("Where", "mask c d", "k")],
            {"c": eight([0.5, 1.5, 2]), "d": constant([[[1.5]]])},
        )
        for word in ("Equal", "Greater", "Less")
    },
    **{
        word: (
            [
                node("Equal", "c d", "p"),
                node("Less", "c d", "q"),
                node(word, "p q", "r"),
                node("Not", "r", "mask"),
                node("Where", "mask c d", "k"),
            ],
            {"c": eight([0.5, 1.5, 2]), "d": constant([[[1.5]]])},
        )
        for word in ("And", "Or")
    },
    **{
        word: (
            [node(word, "c axes", "k")],
            {"c": np.arange(16, dtype="f4").reshape(8, 1, 2) / 7, "axes": constant([-1], "i8")},
        )
        for word in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
    },
    "a mean of all": ([node("ReduceMean", "c", "k", keepdims=0)], {"c": eight([1, 2, 4])}),
    "a mean of none": (
        [node("ReduceMean", "c", "k", noop_with_empty_axes=1)],
        {"c": eight([1, 2, 4])},
    ),
    "Clip": (
        [node("Clip", "c low", "d"), node("Clip", "d - high", "k")],
        {"c": eight([-2, 0, 2]), "low": constant(-1), "high": constant(1)},
    ),
    "Expand": ([node("Expand", "c to", "k")], {"c": constant(2), "to": constant([8, 1, 1], "i8")}),
    "Range": (
        [node("Range", "c d e", "r"), node("Reshape", "r to", "k")],
        {
            "c": constant(1),
            "d": constant(5),
            "e": constant(0.5),
            "to": constant([8, 1, 1], "i8"),
        },
    ),
    "BatchNormalization": (
        [node("BatchNormalization", "c g h m s", "n"), node("Reshape", "n to", "k")],
        {
            "c": np.arange(8, dtype="f4").reshape(4, 2),
            "to": constant([8, 1, 1], "i8"),
            **{key: constant([i + 1, 0.5]) for i, key in enumerate("ghms")},
        },
    ),
    "numbers beyond all": (
        [node("Exp", "c", "d"), node("Reciprocal", "d", "k")],
        {"c": eight([1000, 1])},
    ),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_before_there_is_an_image(tmp_path: Path, name: str) -> None:
    if name == "a mean of none":
        pytest.importorskip("onnxruntime", "1.24", reason="earlier ones refuse the network")
    nodes, constants = COMPUTED[name]
    middle = [*nodes, node("Relu", "a", "relu"), node("Mul", "relu k", "z")]
    imported(write(tmp_path / "a.onnx", *around(middle, constants)))


def test_all_that_is_computed_is_tried() -> None:
    tried = {each.op_type for nodes, _ in COMPUTED.values() for each in nodes}
    assert {*FOLDED, *REDUCED} <= tried
