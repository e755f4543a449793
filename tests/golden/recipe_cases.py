"""The cases of `recipes.npz`: arguments as PyTorch takes them."""

from __future__ import annotations

from typing import Any

# Arguments of ReduceLROnPlateau by the name of the test's case.
PLATEAUS: dict[str, dict[str, Any]] = {
    "loss": {"mode": "min", "factor": 0.5, "patience": 2},
    "cooldown": {"mode": "min", "factor": 0.3, "patience": 1, "cooldown": 2, "threshold": 0.05},
    "top1": {"mode": "max", "factor": 0.1, "patience": 0, "threshold": 0.02, "min_lr": 1e-3},
    "absolute": {
        "mode": "max",
        "factor": 0.5,
        "patience": 1,
        "threshold": 0.03,
        "threshold_mode": "abs",
        "min_lr": 0.05,
    },
    "eps": {"mode": "min", "factor": 0.5, "patience": 0, "threshold": 0.2, "eps": 0.06},
}
# Arguments of a group in addition to weight_decay 0.01: for a weight, a scale and a bias.
GROUPS: list[dict[str, Any]] = [
    {},
    {"lr": 6.4, "weight_decay": 0.002},
    {"lr": 0.05, "weight_decay": 0.0},
]

# Arguments of Muon, as `train.optimizer` takes them.
MUONS: dict[str, dict[str, Any]] = {
    "original": {"lr": 0.02, "weight_decay": 0.1},
    "airbench": {
        "lr": 0.24,
        "momentum": 0.6,
        "steps": 3,
        "adjust_lr": None,
        "normalize_weights": True,
    },
    "rms": {"lr": 1e-3, "momentum": 0.9, "nesterov": False, "adjust_lr": "match_rms_adamw"},
}
