"""Write `cnn_cli/interop/torchvision_names.txt`: `python tests/weights/make_torchvision_names.py`.

One line per network: its name, and the names of torchvision's layers in this program's order. `^`
marks a 1×1 convolution in torchvision that is a linear layer here, or the reverse. Needs PyTorch
and torchvision.
"""

from __future__ import annotations

from pathlib import Path

import torch
from test_torchvision_networks import ARGUMENTS, ENTRIES, SIZES, in_order
from torchvision import models

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.config.networks import network_text
from cnn_cli.config.yaml12 import parse_yaml

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    lines = []
    for name, entry in ENTRIES.items():
        if entry is None:
            continue
        size = SIZES.get(name.partition("-")[0].rstrip("0123456789"), 64)
        model = getattr(models, entry)(weights=None, **ARGUMENTS.get(name, {})).eval()
        with torch.no_grad():
            modules = in_order(model, torch.zeros(1, 3, size, size))
        config = validate_config(parse_yaml(network_text(name), name), name)
        graph = build_graph(config.model, (size, size, 3), 1000, name)
        nodes = [node for node in graph.nodes if node.layer.params]
        words = []
        for node, (place, module) in zip(nodes, modules, strict=True):
            if hasattr(module, "layer_scale"):
                words.append(f"{place}.layer_scale")
                continue
            ours = len(node.layer.params[0].torch_shape)
            words.append(place + "^" * (ours != module.weight.ndim))
        lines.append(" ".join([name, *words]))
    path = ROOT / "cnn_cli" / "interop" / "torchvision_names.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
