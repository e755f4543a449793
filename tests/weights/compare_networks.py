"""Compare the built-in networks with torchvision's and timm's, and print a table.

    python tests/weights/compare_networks.py [NAME...]

It needs torchvision, and timm for the networks in the folder `timm`, which are skipped without it.
Weights are random; batch normalization statistics are measured on the images, so that every layer
matters. Both sides compute in float64. The page `results` shows the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_names, network_text
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.interop.assemble import Standardization
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Node
from cnn_cli.nn.memory import parameter_count
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

Library = Literal["torchvision", "timm"]

TIMM = Path(__file__).parent / "timm"
# Torchvision's names that differ from ours with `_`; None if it has no such network.
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
# Image sizes; smaller ones than the networks were designed for are faster.
SIZES = {"alexnet": 96, "inception": 107}


@dataclass(frozen=True, slots=True)
class Row:
    """The comparison of one network.

    Attributes:
        rival: the other library, and its name for the network.
        parameters: ours, and the other's.
        difference: largest difference of scores, relative to the largest score.
        lines: lines of YAML.
    """

    network: str
    rival: str
    parameters: tuple[int, int]
    difference: float
    lines: int


def entries() -> dict[str, tuple[Library, str]]:
    """Return the other library and its name, by our network's name or, for `timm`, by theirs."""
    own = {name: OTHERS.get(name, name.replace("-", "_")) for name in network_names()}
    found: dict[str, tuple[Library, str]] = {
        name: ("torchvision", entry) for name, entry in own.items() if entry
    }
    return found | {path.stem: ("timm", path.stem) for path in sorted(TIMM.glob("*.yaml"))}


def compare(name: str) -> Row:
    """Load the other library's weights into a network, and run both on the same images.

    Raises:
        ImportError: the other library is not installed.
    """
    library, entry = entries()[name]
    torch = import_module("torch")
    models = import_module("torchvision.models" if library == "torchvision" else "timm.models")
    made_by = getattr(models, entry)
    torch.manual_seed(0)
    given = {"weights": None} if library == "torchvision" else {"pretrained": False}
    model = made_by(**given, **ARGUMENTS.get(name, {})).double()
    text = network_text(name) if library == "torchvision" else (TIMM / f"{name}.yaml").read_text()
    config = validate_config(parse_yaml(text, name), name)
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
    if len(nodes) != len(modules):
        raise ValueError(f"{name}: {len(nodes)} layers with arrays, not {len(modules)}")
    for node, (_, module) in zip(nodes, modules, strict=True):
        fill(params, node, module)
    with Engine(graph, params, threads=2) as engine:
        found = engine.predict(x)
    return Row(
        network=name,
        rival=f"{library} {entry}",
        parameters=(parameter_count(graph), sum(each.numel() for each in model.parameters())),
        difference=float(np.abs(found - expected).max() / np.abs(expected).max()),
        lines=len(text.splitlines()),
    )


def measure_statistics(torch: Any, model: Any, images: Any) -> None:
    """Set batch normalization statistics from the images, and its weights at random."""
    dropped = []
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.GroupNorm):
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
    """Return modules with parameters in the order of their calls; projections after what they
    bypass.
    """
    called: list[tuple[str, Any]] = []

    def watch(name: str, module: Any) -> None:
        module.register_forward_hook(lambda *_: called.append((name, module)))

    for name, module in model.named_modules():
        if module._parameters and any(each is not None for each in module._parameters.values()):
            watch(name, module)
    model(images)
    order = called[:]  # the hooks stay active
    for block in {name.partition(".proj.")[0] for name, _ in called if ".proj." in name}:
        moved = [each for each in order if each[0].startswith(f"{block}.proj.")]
        rest = [each for each in order if each not in moved]
        last = max(i for i, (name, _) in enumerate(rest) if name.startswith(f"{block}.f."))
        order = [*rest[: last + 1], *moved, *rest[last + 1 :]]
    return order


def fill(params: Parameters, node: Node, module: Any) -> None:
    """Copy a module's arrays to a layer."""
    own = dict(arrays(module))
    if type(module).__name__ == "StdConv2d":
        own["weight"] = Standardization(module.eps).apply(own["weight"], None)
    for spec in node.layer.params:
        array = own.pop(spec.name).reshape(spec.torch_shape)
        if spec.to_torch is not None:
            array = array.transpose(np.argsort(spec.to_torch))
        params.views[node.index][spec.name][...] = array
    for buffer in node.layer.buffers:
        params.buffer_views[node.index][buffer.name][...] = own.pop(buffer.name)
    if own:
        raise ValueError(f"{node.name} ({node.layer.kind}) has no {', '.join(own)}")


def arrays(module: Any) -> Iterator[tuple[str, Array]]:
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and name != "num_batches_tracked":
            yield {"layer_scale": "weight"}.get(name, name), tensor.detach().numpy()


def main(names: list[str]) -> None:
    print("| network | of | parameters | largest relative difference | lines |")
    print("|---|---|---|---|---|")
    alike = 0
    rows = []
    for name in names or entries():
        try:
            row = compare(name)
        except ImportError as error:
            print(f"| {name} | {error} | | | |")
            continue
        ours, theirs = row.parameters
        count = f"{ours:,}" if ours == theirs else f"{ours:,}, not {theirs:,}"
        cells = (row.network, row.rival, count, f"{row.difference:.1e}", str(row.lines))
        print(f"| {' | '.join(cells)} |", flush=True)
        rows.append(row)
        alike += ours == theirs and row.difference < 1e-8
    print(f"\n{alike} of {len(rows)} have the same parameters and the same scores (1e-8).")


if __name__ == "__main__":
    main(sys.argv[1:])
