"""ONNX operators as exporters write them, and the layers derived from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import FLOAT, RNG, around, constant, imported, kinds_of, node, write

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


# Middle parts of networks, and the corresponding configs.
MIDDLES: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "hard-swish as four": (
        [
            node("Add", "a three", "p"),
            node("Clip", "p zero six", "q"),
            node("Mul", "a q", "r"),
            node("Div", "r six", "z"),
        ],
        {"three": constant(3), "zero": constant(0), "six": constant(6)},
        ["hardswish"],
    ),
    "hard-swish, divided first": (
        [
            node("Add", "a three", "p"),
            node("Clip", "p zero six", "q"),
            node("Div", "q six", "r"),
            node("Mul", "r a", "z"),
        ],
        {"three": constant(3), "zero": constant(0), "six": constant(6)},
        ["hardswish"],
    ),
    "gelu by erf": (
        [
            node("Div", "a root", "p"),
            node("Erf", "p", "q"),
            node("Add", "q one", "r"),
            node("Mul", "a r", "s"),
            node("Mul", "s half", "z"),
        ],
        {"root": constant(2**0.5), "one": constant(1), "half": constant(0.5)},
        ["gelu"],
    ),
    "silu": ([node("Sigmoid", "a", "p"), node("Mul", "p a", "z")], {}, ["silu"]),
    "a scale a channel": (
        [node("Mul", "a s", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(8, 1, 1)},
        ["layer_scale"],
    ),
    "a scale and a shift a channel": (
        [node("Relu", "a", "p"), node("Mul", "p s", "q"), node("Sub", "q s", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(1, 8, 1, 1)},
        ["relu", "batchnorm"],
    ),
    "a bias of its own": (
        [node("Add", "s a", "z")],
        {"s": np.linspace(0.5, 2, 8, dtype="f4").reshape(8, 1, 1)},
        [],
    ),
    "a sum of three": (
        [node("Relu", "a", "p"), node("Tanh", "a", "q"), node("Sum", "a p q", "z")],
        {},
        ["residual"],
    ),
    "a concatenation of one": ([node("Concat", "a", "z", axis=1)], {}, []),
    "padding before a convolution": (
        [node("Pad", "a p", "q"), node("Conv", "q k", "z", strides=[2, 2])],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8"), "k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv"],
    ),
    "padding before a pool": (
        [
            node("Relu", "a", "r"),
            node("Pad", "r p", "q"),
            node("MaxPool", "q", "z", kernel_shape=[3, 3], strides=[2, 2]),
        ],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8")},
        ["relu", "maxpool"],
    ),
    "shapes that are computed": (
        [
            node("Shape", "a", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n first", "nn"),
            node("Concat", "nn rest", "to", axis=0),
            node("Reshape", "a to", "cut"),
            node("Transpose", "cut", "dealt", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "dealt s", "z"),
        ],
        {
            "zero": constant(0, "i8"),
            "first": constant([0], "i8"),
            "rest": constant([2, 4, 6, 6], "i8"),
        },
        ["channel_shuffle"],
    ),
    "a slice of all": (
        [node("Slice", "a from to", "z")],
        {"from": constant([0, 0, 0, 0], "i8"), "to": constant([99, 99, 99, 99], "i8")},
        [],
    ),
    "halves": (
        [
            node("Split", "a", "p q", axis=1, num_outputs=2),
            node("Relu", "p", "r"),
            node("Concat", "r q", "z", axis=1),
        ],
        {},
        ["split"],
    ),
    "channels last": (
        [
            node("Transpose", "a", "p", perm=[0, 2, 3, 1]),
            node("LayerNormalization", "p g h", "q", epsilon=1e-6),
            node("MatMul", "q m", "r"),
            node("Add", "r h", "s"),
            node("Transpose", "s", "z", perm=[0, 3, 1, 2]),
        ],
        {
            "g": np.linspace(0.5, 2, 8, dtype="f4"),
            "h": np.linspace(-1, 2, 8, dtype="f4"),
            "m": RNG.normal(size=(8, 8)),
        },
        ["layernorm", "conv"],
    ),
    "a gate": (
        [
            node("GlobalAveragePool", "a", "p"),
            node("Conv", "p k l", "q"),
            node("Relu", "q", "r"),
            node("Conv", "r m", "s"),
            node("Sigmoid", "s", "t"),
            node("Mul", "a t", "z"),
        ],
        {
            "k": RNG.normal(size=(2, 8, 1, 1)),
            "l": RNG.normal(size=2),
            "m": RNG.normal(size=(8, 2, 1, 1)),
        },
        ["squeeze_excite"],
    ),
    "a number a channel times one a pixel": (
        [
            node("GlobalAveragePool", "a", "p"),
            node("Conv", "a k", "q"),
            node("Mul", "p q", "z"),
        ],
        {"k": RNG.normal(size=(1, 8, 1, 1))},
        ["branches"],
    ),
    "another gate": (
        [
            node("GlobalAveragePool", "a", "p"),
            node("Conv", "p m", "s"),
            node("Sigmoid", "s", "t"),
            node("Mul", "a t", "z"),
        ],
        {"m": RNG.normal(size=(8, 8, 1, 1))},
        ["branches"],
    ),
    "a concatenation, flat": (
        [
            node("Conv", "a k", "p"),
            node("Concat", "a p", "q", axis=1),
            node("Conv", "q l", "r"),
            node("Concat", "a p r", "s", axis=1),
            node("Conv", "s m", "z"),
        ],
        {
            "k": RNG.normal(size=(2, 8, 1, 1)),
            "l": RNG.normal(size=(3, 10, 1, 1)),
            "m": RNG.normal(size=(8, 13, 1, 1)),
        },
        ["branches", "branches", "conv"],
    ),
    "two of three of one stem": (
        [
            node("Conv", "a k", "p"),
            node("Relu", "p", "q"),
            node("Tanh", "p", "r"),
            node("Concat", "a q r", "s", axis=1),
            node("Conv", "s m", "z"),
        ],
        {"k": RNG.normal(size=(2, 8, 1, 1)), "m": RNG.normal(size=(8, 12, 1, 1))},
        ["branches", "conv"],
    ),
    "TensorFlow's padding": (
        [
            node("Conv", "a k", "p", auto_pad="SAME_UPPER", strides=[2, 2]),
            node("Relu", "p", "q"),
            node("MaxPool", "q", "z", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        ],
        {"k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv", "relu", "maxpool"],
    ),
    "a border that is mirrored": (
        [node("Pad", "a p", "q", mode="reflect"), node("Conv", "q k", "z")],
        {"p": constant([0, 0, 1, 2, 0, 0, 1, 0], "i8"), "k": RNG.normal(size=(8, 8, 3, 3))},
        ["conv"],
    ),
    "a border that is mirrored, before a pool": (
        [
            node("Pad", "a p", "q", mode="reflect"),
            node("AveragePool", "q", "z", kernel_shape=[3, 3]),
        ],
        {"p": constant([0, 0, 1, 1, 0, 0, 1, 1], "i8")},
        ["pad", "avgpool"],
    ),
    "neighbors": (
        [node("LRN", "a", "z", size=3, alpha=0.5, bias=2.0)],
        {},
        ["lrn"],
    ),
    "blocks": (
        [node("Resize", "a - s", "z", mode="nearest")],
        {"s": constant([1, 1, 2, 3])},
        ["upsample"],
    ),
    "blocks by their size": (
        [
            node("Shape", "a", "s"),
            node("Slice", "s zero two", "first"),
            node("Concat", "first sizes", "to", axis=0),
            node(
                "Resize",
                "a - - to",
                "z",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ],
        {
            "zero": constant([0], "i8"),
            "two": constant([2], "i8"),
            "sizes": constant([12, 24], "i8"),
        },
        ["upsample"],
    ),
    "attention over channels": (
        [
            node("ReduceMean", "a axes", "p", keepdims=0),
            node("Reshape", "p row", "q"),
            node("Conv", "q k", "r", pads=[1, 1]),
            node("Sigmoid", "r", "s"),
            node("Reshape", "s back", "t"),
            node("Shape", "a", "shape"),
            node("Expand", "t shape", "u"),
            node("Mul", "a u", "z"),
        ],
        {
            "axes": constant([2, 3], "i8"),
            "row": constant([0, 1, -1], "i8"),
            "back": constant([0, -1, 1, 1], "i8"),
            "k": RNG.normal(size=(1, 1, 3)),
        },
        ["eca"],
    ),
    "what several read": (
        [
            node("Relu", "a", "p"),
            node("Tanh", "p", "q"),
            node("Conv", "q k", "r"),
            node("Add", "p r", "s"),
            node("Mul", "s q", "t"),
            node("Concat", "r t p", "u", axis=1),
            node("Conv", "u m", "z"),
        ],
        {"k": RNG.normal(size=(8, 8, 1, 1)), "m": RNG.normal(size=(8, 24, 1, 1))},
        ["relu", "tanh", "conv", "branches", "branches", "branches", "conv"],
    ),
    "a stream beside another one": (
        [
            node("Conv", "a k", "p", strides=[2, 2]),
            node("Resize", "p - s", "q", mode="nearest"),
            node("Conv", "a l", "r"),
            node("Add", "q r", "t"),
            node("Conv", "r k", "u", strides=[2, 2]),
            node("Add", "u p", "sum"),
            node("Resize", "sum - s", "w2", mode="nearest"),
            node("Concat", "t w2", "z2", axis=1),
            node("Conv", "z2 m", "z"),
        ],
        {
            "k": RNG.normal(size=(8, 8, 1, 1)),
            "l": RNG.normal(size=(8, 8, 1, 1)),
            "m": RNG.normal(size=(8, 16, 1, 1)),
            "s": constant([1, 1, 2, 2]),
        },
        [
            *("conv", "upsample", "from", "conv", "branches", "from", "conv", "branches"),
            *("upsample", "branches", "conv"),
        ],
    ),
    "parts of other sizes": (
        [
            node("Slice", "a zero three axis", "p"),
            node("Slice", "a three all axis", "q"),
            node("Relu", "p", "r"),
            node("Concat", "r q", "z", axis=1),
        ],
        {
            "zero": constant([0], "i8"),
            "three": constant([3], "i8"),
            "all": constant([99], "i8"),
            "axis": constant([1], "i8"),
        },
        ["branches"],
    ),
    "parts that read each other": (
        [
            node("Relu", "a", "p"),
            node("Split", "p sizes", "q r s", axis=1),
            node("Conv", "q k", "t"),
            node("Add", "t r", "u"),
            node("Conv", "u l", "last"),
            node("Concat", "t last s", "z", axis=1),
        ],
        {
            "sizes": constant([3, 3, 2], "i8"),
            "k": RNG.normal(size=(3, 3, 1, 1)),
            "l": RNG.normal(size=(3, 3, 1, 1)),
        },
        [
            *("relu", "slice", "from", "slice", "from", "slice", "conv", "branches"),
            *("conv", "branches"),
        ],
    ),
    "halves that are multiplied": (
        [
            node("Split", "a", "p q", axis=1, num_outputs=2),
            node("Mul", "p q", "r"),
            node("Concat", "r r", "z", axis=1),
        ],
        {},
        ["branches", "branches"],
    ),
    "weights of branches": (
        [
            node("Conv", "a k", "p"),
            node("Tanh", "a", "q"),
            node("Unsqueeze", "p one", "p1"),
            node("Unsqueeze", "q one", "q1"),
            node("Concat", "p1 q1", "both", axis=1),
            node("ReduceSum", "both one", "sum", keepdims=0),
            node("GlobalAveragePool", "sum", "mean"),
            node("Conv", "mean l", "scores"),
            node("Reshape", "scores cut", "cuts"),
            node("Softmax", "cuts", "weights", axis=1),
            node("Mul", "both weights", "times"),
            node("ReduceSum", "times one", "z", keepdims=0),
        ],
        {
            "one": constant([1], "i8"),
            "cut": constant([-1, 2, 8, 1, 1], "i8"),
            "k": RNG.normal(size=(8, 8, 1, 1)),
            "l": RNG.normal(size=(16, 8, 1, 1)),
        },
        ["branches", "branches", "branches"],
    ),
    "edges that are cut off": (
        [
            node("Slice", "a one last rows", "p"),
            node("Pad", "p around", "q"),
            node("Conv", "q k", "r"),
            node("Pad", "r cut", "z"),
        ],
        {
            "one": constant([1, 0], "i8"),
            "last": constant([99, -1], "i8"),
            "rows": constant([2, 3], "i8"),
            "around": constant([0, 0, 0, 1, 0, 0, 2, 0], "i8"),
            "cut": constant([0, 0, -1, 0, 0, 0, 1, -1], "i8"),
            "k": RNG.normal(size=(8, 8, 3, 3)),
        },
        ["pad", "conv", "pad"],
    ),
    "a difference": (
        [node("Tanh", "a", "p"), node("Sub", "p a", "z")],
        {},
        ["residual"],
    ),
    "squares": (
        [node("Mul", "a a", "p"), node("Pow", "p two", "z")],
        {"two": constant(2)},
        ["branches", "branches"],
    ),
    "a sum over the map": (
        [
            node("Relu", "a", "p"),
            node("ReduceSum", "p space", "q"),
            node("Sigmoid", "q", "r"),
            node("Mul", "p r", "z"),
        ],
        {"space": constant([2, 3], "i8")},
        ["relu", "branches"],
    ),
    "weights that are standardized": (
        [
            node("Reshape", "k flat_k", "rows"),
            node("BatchNormalization", "rows g h m m", "n1 n2 n3", epsilon=1e-6, training_mode=1),
            node("Reshape", "n1 shape_k", "kk"),
            node("Conv", "a kk", "z"),
        ],
        {
            "k": RNG.normal(size=(8, 8, 3, 3)),
            "flat_k": constant([1, 8, -1], "i8"),
            "shape_k": constant([8, 8, 3, 3], "i8"),
            "g": np.linspace(0.5, 2, 8, dtype="f4"),
            "h": np.zeros(8, "f4"),
            "m": np.ones(8, "f4"),
        },
        ["conv"],
    ),
    "padding that is computed": (
        [
            node("Shape", "a", "s"),
            node("Gather", "s two", "size"),
            node("Cast", "size", "size_f", to=FLOAT),
            node("Div", "size_f four", "d"),
            node("Ceil", "d", "e"),
            node("Sub", "e one", "f"),
            node("Mul", "f four", "g"),
            node("Add", "g three", "h"),
            node("Sub", "h size_f", "i"),
            node("Clip", "i zero", "j"),
            node("Cast", "j", "k1", to=onnx.TensorProto.INT64),
            node("Unsqueeze", "k1 first", "l"),
            node("Concat", "none l first none l first", "pads", axis=0),
            node("Pad", "a pads", "p"),
            node("Conv", "p k", "z", strides=[4, 4]),
        ],
        {
            "two": constant(2, "i8"),
            "four": constant(4),
            "one": constant(1),
            "three": constant(3),
            "zero": constant(0),
            "first": constant([0], "i8"),
            "none": constant([0, 0], "i8"),
            "k": RNG.normal(size=(8, 8, 3, 3)),
        },
        ["conv"],
    ),
    "weights through an identity": (
        [node("Identity", "k", "kk"), node("Conv", "a kk", "z")],
        {"k": RNG.normal(size=(8, 8, 1, 1))},
        ["conv"],
    ),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_what_exporters_take_apart(tmp_path: Path, name: str) -> None:
    middle, constants, kinds = MIDDLES[name]
    arrays = {
        key: np.asarray(value, "f4") if np.asarray(value).dtype == "f8" else value
        for key, value in constants.items()
    }
    found, _ = imported(write(tmp_path / "a.onnx", *around(middle, arrays)))
    assert kinds_of(found) == ["conv", *kinds, "global_avgpool", "linear"]
