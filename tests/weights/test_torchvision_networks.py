"""The networks that come along compute what torchvision's do, parameter by parameter.

Left out unless asked for: `pip install torchvision`, then `pytest -m torchvision`. Weights are
drawn at random; statistics of batch normalizations are measured on the images, so that no layer is
idle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import random_parameters

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_names, network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.data.decode import Preprocess
from cnn_cli.data.normalization import Normalization
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.export.torchvision_names import torchvision_arrays
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Node
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

pytestmark = pytest.mark.torchvision

# By torchvision's name, where it is not ours with `_`; and None where it has none.
OTHERS = {
    "efficientnet-lite0": None,
    "efficientnet-lite1": None,
    "efficientnet-lite2": None,
    "mnasnet": "mnasnet1_0",
    "mobilenet-v3": "mobilenet_v3_large",
    "resnext50": "resnext50_32x4d",
    "shufflenet-v2": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "vgg11-bn": "vgg11_bn",
    "vgg16-bn": "vgg16_bn",
    "wide-resnet50": "wide_resnet50_2",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception-v3": {"aux_logits": False, "init_weights": False},
}
# Of images; smaller ones than the networks were made for are quicker.
SIZES = {"alexnet": 96, "inception": 107}
ENTRIES = {name: OTHERS.get(name, name.replace("-", "_")) for name in network_names()}


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry])
def test_it_is_torchvisions(name: str) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = getattr(models, str(ENTRIES[name]))(weights=None, **ARGUMENTS.get(name, {})).double()
    config = validate_config(parse_yaml(network_text(name), name), name)
    size = SIZES.get(name.partition("-")[0].rstrip("0123456789"), 64)
    graph = build_graph(config.model, (size, size, 3), 1000, name)
    x = np.random.default_rng(0).normal(size=(2, *graph.in_shape))
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        measure_statistics(torch, model, images)
        modules = in_order(model, images)
        expected = model(images).numpy()
    params = Parameters(graph, "float64")
    nodes = [node for node in graph.nodes if node.layer.params or node.layer.buffers]
    assert len(nodes) == len(modules)
    for node, (_, module) in zip(nodes, modules, strict=True):
        fill(params, node, module)
    with Engine(graph, params, threads=2) as engine:
        found = engine.predict(x)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry])
def test_torchvision_loads_what_is_exported(name: str) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    model = getattr(models, str(ENTRIES[name]))(weights=None, **ARGUMENTS.get(name, {}))
    config = validate_config(parse_yaml(network_text(name), name), name)
    graph = build_graph(config.model, (107, 107, 3), 1000, name)
    params = random_parameters(graph, dtype="float32")
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    pre, classes = Preprocess(107, 107, 3), tuple(map(str, range(1000)))
    classifier = Classifier(Path("x"), {}, classes, pre, normalization, graph, params, 1.0)
    arrays = torchvision_arrays(classifier)
    state = OrderedDict((key, torch.tensor(np.array(array))) for key, array in arrays.items())
    # A version, which MNASNet asks for and no file of arrays has.
    state._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(state, strict=True)


def measure_statistics(torch: Any, model: Any, images: Any) -> None:
    """Have batch normalizations take those of the images, and their weights at random."""
    dropped = []
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
        if hasattr(module, "layer_scale"):
            module.layer_scale.uniform_(0.5, 1.5)
        if isinstance(module, torch.nn.Dropout) or type(module).__name__ == "StochasticDepth":
            dropped.append(module)
    model.train()
    for module in dropped:
        module.eval()
    model(images)
    model.eval()


def in_order(model: Any, images: Any) -> list[tuple[str, Any]]:
    """Modules with parameters of their own, as they are called; projections behind what they
    bypass."""
    called: list[tuple[str, Any]] = []

    def watch(name: str, module: Any) -> None:
        module.register_forward_hook(lambda *_: called.append((name, module)))

    for name, module in model.named_modules():
        if module._parameters and any(each is not None for each in module._parameters.values()):
            watch(name, module)
    model(images)
    order = called[:]  # the hooks stay
    for block in {name.partition(".proj.")[0] for name, _ in called if ".proj." in name}:
        moved = [each for each in order if each[0].startswith(f"{block}.proj.")]
        rest = [each for each in order if each not in moved]
        last = max(i for i, (name, _) in enumerate(rest) if name.startswith(f"{block}.f."))
        order = [*rest[: last + 1], *moved, *rest[last + 1 :]]
    return order


def fill(params: Parameters, node: Node, module: Any) -> None:
    """Give a layer a module's arrays."""
    own = dict(arrays(module))
    for spec in node.layer.params:
        array = own.pop(spec.name).reshape(spec.torch_shape)
        if spec.to_torch is not None:
            array = array.transpose(np.argsort(spec.to_torch))
        params.views[node.index][spec.name][...] = array
    for buffer in node.layer.buffers:
        params.buffer_views[node.index][buffer.name][...] = own.pop(buffer.name)
    assert not own


def arrays(module: Any) -> Iterator[tuple[str, Array]]:
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and name != "num_batches_tracked":
            yield {"layer_scale": "weight"}.get(name, name), tensor.detach().numpy()
