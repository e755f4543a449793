"""ONNX files written by tests, and their import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import plain_config
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.importing import ImportOptions, ImportReport, import_weights
from cnn_cli.interop.onnx_agreement import AGREE
from cnn_cli.nn.types import Array

onnx = pytest.importorskip("onnx")

FLOAT = onnx.TensorProto.FLOAT
OPTIONS = ImportOptions(mean=(0.0,), std=(1.0,))
RNG = np.random.default_rng(0)
STEM = {"w": RNG.normal(size=(8, 3, 3, 3)).astype("f4"), "b": RNG.normal(size=8).astype("f4")}
HEAD = {"v": RNG.normal(size=(5, 8)).astype("f4")}


def model(
    nodes: list[Any],
    constants: dict[str, Array],
    shape: tuple[int | str, ...] = ("n", 3, 6, 6),
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write(path: Path, *given: Any, **more: Any) -> Path:
    path.write_bytes(model(*given, **more).SerializeToString())
    return path


def node(word: str, inputs: str, output: str, **attributes: Any) -> Any:
    names = [name if name != "-" else "" for name in inputs.split()]
    name = f"{word.lower()}_{output.split(maxsplit=1)[0]}"
    return onnx.helper.make_node(word, names, output.split(), name=name, **attributes)


def around(middle: list[Any], constants: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    """Return a network whose middle part, from `a` to `z`, has 8 channels."""
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        *middle,
        node("GlobalAveragePool", "z", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat v", "y", transB=1),
    ]
    arrays = {key: np.asarray(value) for key, value in constants.items()}
    return nodes, {**STEM, **HEAD, **arrays}


def constant(value: Any, kind: str = "f4") -> Array:
    return np.array(value, kind)


def imported(path: Path, **options: Any) -> tuple[Classifier, ImportReport]:
    output = path.with_suffix(".npz")
    given = ImportOptions(**options) if options else OPTIONS
    report = import_weights(path, None, [], output, given)
    assert report.notes[-1].startswith(AGREE)
    return Classifier.load(output), report


def layers_of(classifier: Classifier) -> Any:
    return plain_config(classifier.config)["model"]["layers"]


def kinds_of(classifier: Classifier) -> list[str]:
    return [next(iter(layer)) for layer in layers_of(classifier)]


def refusal(path: Path) -> str:
    """Return the error for a file, without its name; "" if it is imported."""
    try:
        imported(path)
    except DataError as error:
        return error.line().removeprefix(f"{path}: ")
    return ""
