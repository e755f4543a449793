"""Write `recipes.npz`: `python tests/golden/make_recipes.py`, with PyTorch installed.

It contains PyTorch's results for the same numbers: learning rates of its schedulers, and parameters
in groups with separate rates and decays, after some steps in float64. The test suite reads the file
and needs no PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipe_cases import GROUPS, MUONS, PLATEAUS
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau

HERE = Path(__file__).parent


def _optimizer(params: Any, kind: str) -> torch.optim.Optimizer:
    match kind:
        case "sgd":
            return torch.optim.SGD(params, 0.1, 0.9, weight_decay=0.01, nesterov=True)
        case "adam":
            return torch.optim.Adam(params, 0.1, weight_decay=0.01)
        case _:
            return torch.optim.AdamW(params, 0.1, weight_decay=0.01)


def schedules(rng: np.random.Generator) -> dict[str, Any]:
    falling = np.exp(-np.arange(40) / 8) + 0.1 * rng.random(40)
    out: dict[str, Any] = {"plateau/scores": falling}
    for name, arguments in PLATEAUS.items():
        optimizer = torch.optim.SGD([torch.zeros(1)], 0.4)
        scheduler = ReduceLROnPlateau(optimizer, **arguments)
        rates = []
        for score in falling:
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(1 - score if arguments["mode"] == "max" else score)
        out[f"plateau/{name}"] = np.array(rates)
    for name, arguments in (
        ("down", {"start_factor": 1.0, "end_factor": 0.07, "total_iters": 9}),
        ("up", {"start_factor": 0.2, "end_factor": 1.0, "total_iters": 4}),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1)], 0.4)
        line = LinearLR(optimizer, **arguments)
        rates = []
        for _ in range(arguments["total_iters"] + 1):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            line.step()
        out[f"linear/{name}"] = np.array(rates)
    return out


def groups(rng: np.random.Generator) -> dict[str, Any]:
    out: dict[str, Any] = {"groups/start": rng.standard_normal((3, 4))}
    out["groups/gradients"] = rng.standard_normal((5, 3, 4))
    for kind in ("sgd", "adam", "adamw"):
        params = [torch.tensor(start, requires_grad=True) for start in out["groups/start"]]
        rows = [{"params": [p]} | group for p, group in zip(params, GROUPS, strict=True)]
        optimizer = _optimizer(rows, kind)
        for gradients in out["groups/gradients"]:
            for param, gradient in zip(params, gradients, strict=True):
                param.grad = torch.tensor(gradient)
            optimizer.step()
        out[f"groups/{kind}"] = np.stack([param.detach().numpy() for param in params])
    return out


def newton_schulz(gradient: torch.Tensor, steps: int) -> torch.Tensor:
    """The quintic iteration in its author's form, on X itself."""
    x = gradient / (gradient.norm() + 1e-7)
    x = x.T if len(x) > x.shape[1] else x
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if len(gradient) > gradient.shape[1] else x


def muon(rng: np.random.Generator) -> dict[str, Any]:
    """Steps of Muon on two filter banks, one tall and one wide, written out."""
    shapes = {"high": (9, 1, 2, 2), "wide": (4, 3, 3, 3)}
    out: dict[str, Any] = {}
    for bank, shape in shapes.items():
        out[f"muon/start/{bank}"] = rng.standard_normal(shape)
        out[f"muon/gradients/{bank}"] = rng.standard_normal((4, *shape))
        for name, given in MUONS.items():
            case = {"momentum": 0.95, "nesterov": True, "steps": 5, "weight_decay": 0.0} | given
            weight = torch.tensor(out[f"muon/start/{bank}"])
            momentum = torch.zeros_like(weight)
            height, width = shape[0], weight[0].numel()
            rate = case["lr"]
            if case.get("adjust_lr", "original") == "original":
                rate *= max(1, height / width) ** 0.5
            elif case["adjust_lr"] == "match_rms_adamw":
                rate *= 0.2 * max(height, width) ** 0.5
            for values in out[f"muon/gradients/{bank}"]:
                gradient = torch.tensor(values)
                momentum = case["momentum"] * momentum + gradient
                direction = gradient + case["momentum"] * momentum if case["nesterov"] else momentum
                if case.get("normalize_weights"):
                    weight = weight * height**0.5 / weight.norm()
                weight = weight * (1 - case["lr"] * case["weight_decay"])
                update = newton_schulz(direction.reshape(height, -1), case["steps"])
                weight = weight - rate * update.reshape(shape)
            out[f"muon/{name}/{bank}"] = weight.numpy()
    return out


if __name__ == "__main__":
    rng = np.random.default_rng(5)
    np.savez_compressed(HERE / "recipes.npz", **schedules(rng), **groups(rng), **muon(rng))
    print(f"recipes.npz: {(HERE / 'recipes.npz').stat().st_size:,} bytes")
