"""Write the golden files: `python tests/golden/make.py [NAME...]`, with PyTorch installed.

Each file contains a network's initial weights, a batch, and PyTorch's results in float64: the
logits in evaluation and in training mode, the loss, every gradient, ten training losses, and all
parameters and running statistics after the third and the tenth step. The test suite reads the files
and needs no PyTorch.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import CASES, Case
from torch import nn
from torch_twin import Twin

HERE = Path(__file__).parent
STEPS = 10


def make(name: str, case: Case) -> dict[str, Any]:
    torch.manual_seed(zlib.crc32(name.encode()))
    torch.set_default_dtype(torch.float64)
    height, width, channels = case.in_shape
    twin = Twin(case.layers, channels, (height, width), case.classes)
    x = torch.randn(case.images, channels, height, width)
    labels = torch.randint(case.classes, (case.images,))
    for module in twin.modules():
        # Values other than the initial ones, so that errors about them show.
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    out: dict[str, Any] = {"x": x.permute(0, 2, 3, 1).numpy(), "labels": labels.numpy()}
    out |= {f"before/{key}": value for key, value in twin.state().items()}
    twin.eval()
    out["logits_evaluation"] = twin(x).detach().numpy()
    twin.train()
    weight = None if case.class_weights is None else torch.tensor(case.class_weights)
    criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=case.label_smoothing)
    optimizer = make_optimizer(case, twin)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = twin(x)
        loss = criterion(logits, labels)
        loss.backward()
        if step == 0:
            out["logits_training"] = logits.detach().numpy().copy()
            out |= {f"gradient/{key}": value for key, value in twin.gradients().items()}
        optimizer.step()
        losses.append(loss.item())
        if step + 1 in (3, STEPS):
            out |= {f"after{step + 1}/{key}": value for key, value in twin.state().items()}
    out["losses"] = np.array(losses)
    return out


def make_optimizer(case: Case, twin: Twin) -> torch.optim.Optimizer:
    arguments = {key: value for key, value in case.optimizer.items() if key != "type"}
    parameters = groups(case, twin) if case.blocks else twin.parameters()
    match case.optimizer["type"]:
        case "sgd":
            arguments = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4} | arguments
            return torch.optim.SGD(parameters, **arguments)
        case "adam":
            return torch.optim.Adam(parameters, **arguments)
        case _:
            return torch.optim.AdamW(parameters, **arguments)


def groups(case: Case, twin: Twin) -> list[dict[str, Any]]:
    """Return one parameter group per block, as timm's `param_groups_layer_decay` does."""
    found = []
    taken = 0
    for number, prefixes in enumerate(case.blocks):
        modules = [each for name, each in twin.by_name.items() if name.startswith(prefixes)]
        scale = case.layer_decay ** (len(case.blocks) - 1 - number)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        found.append({"params": parameters, "lr": case.optimizer["lr"] * scale})
        taken += len(parameters)
    assert taken == len(list(twin.parameters())), "a block names too few layers, or too many"
    return found


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        np.savez_compressed(HERE / f"{name}.npz", **make(name, case))
        print(f"{name}.npz: {(HERE / f'{name}.npz').stat().st_size:,} bytes")
