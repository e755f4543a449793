"""Every attribute of ONNX operators is used, as in onnxruntime, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import HEAD, RNG, around, constant, imported, node, refusal, write

from cnn_cli.errors import DataError
from cnn_cli.interop.readers.arguments import READ, Only
from cnn_cli.interop.readers.onnx_arguments import ARGUMENTS
from cnn_cli.interop.readers.onnx_constants import FOLDED, REDUCED

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# Values of the attributes that are read, and the operators' other inputs.
CONV = {"k": RNG.normal(size=(8, 4, 3, 3)).astype("f4")}
POOL = {"kernel_shape": [2, 2]}
VALUES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, list[Any]]]] = {
    "AveragePool": (
        "a",
        {},
        POOL,
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "ceil_mode": [1],
            "count_include_pad": [0, 1],
            "dilations": [[2, 2]],
            "kernel_shape": [[3, 2]],
            "pads": [[1, 1, 1, 1], [0, 1, 1, 0]],
            "strides": [[2, 1], [4, 4]],
        },
    ),
    "MaxPool": (
        "a",
        {},
        POOL,
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "ceil_mode": [1],
            "dilations": [[2, 2]],
            "kernel_shape": [[3, 2]],
            "pads": [[1, 1, 1, 1], [0, 1, 1, 0]],
            "strides": [[2, 1], [4, 4]],
        },
    ),
    "Conv": (
        "a k",
        CONV,
        {"group": 2},
        {
            "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
            "dilations": [[2, 2]],
            "group": [1, 2],
            "kernel_shape": [[3, 3], [2, 2]],
            "pads": [[1, 2, 1, 2], [0, 1, 1, 0]],
            "strides": [[2, 1]],
        },
    ),
    "BatchNormalization": (
        "a s s s s",
        {"s": np.linspace(0.5, 2, 8, dtype="f4")},
        {},
        {"epsilon": [0.1], "training_mode": [1]},
    ),
    "Clip": ("a low high", {"low": constant(0), "high": constant(6)}, {}, {}),
    "Concat": ("a a", {}, {}, {"axis": [1, 2, -3]}),
    "Elu": ("a", {}, {}, {"alpha": [0.5]}),
    "Flatten": ("a", {}, {}, {"axis": [1, 2]}),
    "GroupNormalization": (
        "a s s",
        {"s": np.linspace(0.5, 2, 4, dtype="f4")},
        {"num_groups": 4},
        {"epsilon": [0.1], "num_groups": [2, 3]},
    ),
    "InstanceNormalization": (
        "a s s",
        {"s": np.linspace(0.5, 2, 8, dtype="f4")},
        {},
        {"epsilon": [0.1]},
    ),
    "HardSigmoid": ("a", {}, {"alpha": 1 / 6}, {"alpha": [0.2], "beta": [0.4]}),
    "LRN": (
        "a",
        {},
        {"size": 3},
        {"alpha": [0.5], "beta": [0.5], "bias": [2.0], "size": [5, 4]},
    ),
    "Resize": (
        "a - s",
        {"s": constant([1, 1, 2, 3])},
        {"mode": "nearest"},
        {
            "coordinate_transformation_mode": [
                *("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"),
                *("half_pixel_symmetric", "tf_crop_and_resize"),
            ],
            "nearest_mode": ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"],
        },
    ),
    "Pow": ("a two", {"two": constant(2)}, {}, {}),
    "LayerNormalization": (
        "a g",
        {"g": np.linspace(0.5, 2, 6, dtype="f4")},
        {},
        {"axis": [-1, 1], "epsilon": [0.1]},
    ),
    "LeakyRelu": ("a", {}, {}, {"alpha": [0.3]}),
    "ReduceMean": (
        "a axes",
        {"axes": constant([2, 3], "i8")},
        {},
        {"keepdims": [1], "noop_with_empty_axes": [1]},
    ),
    "ReduceSum": (
        "a axes",
        {"axes": constant([2, 3], "i8")},
        {},
        {"keepdims": [1], "noop_with_empty_axes": [1]},
    ),
    "Reshape": ("a to", {"to": constant([0, 8, 6, 6], "i8")}, {}, {"allowzero": [1]}),
    "Softmax": ("a", {}, {}, {"axis": [1]}),
    "Split": ("a", {}, {"num_outputs": 1}, {"axis": [1, 2]}),
    "Transpose": ("a", {}, {}, {"perm": [[0, 1, 2, 3], [0, 1, 3, 2]]}),
}
# Tested above for constants only, or in files of older operators.
ELSEWHERE = {
    ("Gemm", "alpha"),
    ("Gemm", "beta"),
    ("Gemm", "transB"),
    ("Cast", "to"),
    ("Gather", "axis"),
    ("Shape", "start"),
    ("Shape", "end"),
    ("ConstantOfShape", "value"),
    *(("Constant", key) for key in ARGUMENTS["Constant"]),
    *(("Clip", key) for key in ("min", "max")),
    *((word, "axes") for word in ("Slice", "Squeeze", "Unsqueeze", *REDUCED)),
    *((word, key) for word in REDUCED for key in ("keepdims", "noop_with_empty_axes")),
    *(("Slice", key) for key in ("starts", "ends")),
    *(("Pad", key) for key in ("pads", "paddings")),
    ("Split", "split"),
    ("Resize", "axes"),
    ("Upsample", "scales"),
    ("Reshape", "shape"),
}


@pytest.mark.parametrize("word", ARGUMENTS)
def test_every_attribute_is_honored_or_refused(tmp_path: Path, word: str) -> None:
    """Used: onnxruntime gives the same scores, which `import_weights` checks."""
    inputs, constants, plain, values = VALUES.get(word, ("a", {}, {}, {}))
    cases: list[dict[str, Any]] = []
    for key, rule in ARGUMENTS[word].items():
        if rule is READ and key not in values:
            assert (word, key) in ELSEWHERE, key
        cases += [plain | {key: value} for value in values.get(key, ())]
        if isinstance(rule, Only):
            wrong = 7 if all(isinstance(each, int | float) for each in rule.values) else "else"
            path = tmp_path / f"{key}.onnx"
            operator = node(word, inputs, "z", **{**plain, key: wrong})
            write(path, *around([operator], constants))
            with pytest.raises(DataError) as caught:
                imported(path)
            assert caught.value.line().startswith(
                f"{path}: {key} of {word.lower()}_z ({word}) must"
            )
    for i, attributes in enumerate(cases):
        path = tmp_path / f"{i}.onnx"
        write(path, *around([node(word, inputs, "z", **attributes)], constants))
        assert "onnxruntime's scores" not in refusal(path), attributes
    known = set(ARGUMENTS[word])
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.name == word and schema.domain == "":
            for key in set(schema.attributes) - known:
                write(
                    tmp_path / "b.onnx", *around([node(word, inputs, "z", **{key: 1})], constants)
                )
                with pytest.raises(
                    DataError, match=f"has an argument that is not known. Got {key}"
                ):
                    imported(tmp_path / "b.onnx")


def test_gemm_with_factors(tmp_path: Path) -> None:
    nodes, constants = around([node("Relu", "a", "z")], {"c": np.arange(5, dtype="f4")})
    for attributes in ({"alpha": 0.5}, {"beta": 2.0}, {"transB": 0}, {"transA": 1}):
        transposed = attributes.get("transB", 1) == 0
        arrays = constants | ({"v": HEAD["v"].T.copy()} if transposed else {})
        gemm = node("Gemm", "flat v c", "y", **{"transB": 1, **attributes})
        path = write(tmp_path / "a.onnx", [*nodes[:-1], gemm], arrays)
        if "transA" in attributes:
            with pytest.raises(DataError, match="transA of gemm_y"):
                imported(path)
        else:
            imported(path)


def test_operators_that_are_folded_are_listed() -> None:
    assert {*FOLDED, *REDUCED} <= set(ARGUMENTS)
