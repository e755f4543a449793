"""The onnx package's test vectors of PyTorch's layers, as networks of one layer."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.interop.assemble import assemble
from cnn_cli.interop.match_structure import match_structure
from cnn_cli.interop.readers.onnx_file import read_onnx
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.kernels.fast import LoopKernels
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

onnx = pytest.importorskip("onnx")

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"


def window(node: Any, **names: str) -> dict[str, Any]:
    """Return a convolution's or pool's arguments, under this program's names."""
    found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    arguments = {ours: found[theirs] for theirs, ours in names.items() if theirs in found}
    pads = found.get("pads", [0, 0, 0, 0])
    assert pads[:2] == pads[2:]
    return arguments | {"kernel_size": found["kernel_shape"], "padding": pads[:2]}


def conv(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    arguments = window(node, strides="stride", dilations="dilation", group="groups")
    channels = arrays[node.input[1]].shape[0]
    return {"out_channels": channels, "bias": len(node.input) > 2, **arguments}


def maxpool(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    return window(node, strides="stride", dilations="dilation")


def avgpool(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    return window(node, strides="stride")


def linear(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    return {"out_features": "classes", "bias": len(node.input) > 2}


def attribute(key: str, name: str, default: float) -> Callable[[Any, Any], dict[str, Any]]:
    def read(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
        found = {item.name: item.f for item in node.attribute}
        return {key: round(found.get(name, default), 6)}

    return read


def prelu(node: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    return {"num_parameters": arrays[node.input[1]].size}


# The available test vectors, with the layer and a function for its arguments.
LAYERS: dict[str, tuple[str, Callable[[Any, Any], dict[str, Any]] | None]] = {
    "AvgPool2d": ("avgpool", avgpool),
    "BatchNorm1d": ("batchnorm", attribute("eps", "epsilon", 1e-5)),
    "BatchNorm2d": ("batchnorm", attribute("eps", "epsilon", 1e-5)),
    "Conv2d": ("conv", conv),
    "ELU": ("elu", attribute("alpha", "alpha", 1.0)),
    "LeakyReLU": ("leaky_relu", attribute("negative_slope", "alpha", 0.01)),
    "Linear": ("linear", linear),
    "MaxPool2d": ("maxpool", maxpool),
    "PReLU": ("prelu", prelu),
    "ReLU": ("relu", None),
    "SELU": ("selu", None),
    "Sigmoid": ("sigmoid", None),
    "Softplus": ("softplus", None),
    "Softsign": ("softsign", None),
    "Tanh": ("tanh", None),
}


def word_of(folder: Path) -> str:
    return folder.name.split("_")[1]


VECTORS = [folder for folder in sorted(FOLDER.glob("test_*")) if word_of(folder) in LAYERS]


def tensor(path: Path) -> Array:
    array: Array = onnx.numpy_helper.to_array(onnx.load_tensor(str(path)))
    return array


def as_images(x: Array) -> Array:
    """Convert (n, c, …) to (n, h, w, c); tensors with more or fewer axes are reshaped."""
    n, c, *size = x.shape
    return x.reshape(n, c, -1, size[-1] if size else 1).transpose(0, 2, 3, 1)


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 35
    assert {word_of(folder) for folder in VECTORS} == set(LAYERS)


@pytest.mark.parametrize("kernels", [NUMPY, LoopKernels()], ids=["numpy", "loops"])
@pytest.mark.parametrize("folder", VECTORS, ids=lambda folder: folder.name)
def test_vector(folder: Path, kernels: Kernels) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    x = as_images(tensor(folder / "test_data_set_0" / "input_0.pb"))
    expected = tensor(folder / "test_data_set_0" / "output_0.pb")
    nodes = [node for node in model.graph.node if node.op_type not in ("Constant", "Transpose")]
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    kind, arguments = LAYERS[word_of(folder)]
    layers: list[Any] = [{kind: arguments(nodes[0], arrays)} if arguments else kind]
    if kind != "linear":
        layers.append("flatten")
    config = validate_config({"model": {"layers": layers}}, folder.name)
    graph = build_graph(config.model, x.shape[1:], prod(expected.shape[1:]), folder.name)
    params = Parameters(graph, "float32")
    if kind != "softsign":  # several operators there
        foreign = read_onnx(folder / "model.onnx")
        found, _ = assemble(graph, foreign, *match_structure(graph, foreign))
        params.load(found, folder.name)
    with Engine(graph, params, kernels=kernels) as engine:
        y = engine.predict(np.ascontiguousarray(x))
        np.testing.assert_allclose(y, expected.reshape(len(y), -1), rtol=1e-4, atol=1e-5)
