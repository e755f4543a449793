"""Scores and targets for comparing losses, for `make_losses.py` and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

CLASSES, IMAGES = 5, 12


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        loss: `train.loss`.
        label_smoothing: `train.label_smoothing`.
        class_weights: one number per class, or None.
        mixed: whether each image is mixed with its predecessor.
        spread: spread of the scores.
        several: whether images have several labels.
    """

    loss: dict[str, Any] = field(default_factory=lambda: {"type": "cross_entropy"})
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    mixed: bool = False
    spread: float = 2.0
    several: bool = False


WEIGHTS = (1.0, 0.5, 3.0, 0.0, 2.0)
CASES = {
    "cross_entropy": Case(),
    "cross_entropy_all": Case(label_smoothing=0.1, class_weights=WEIGHTS, mixed=True),
    "focal": Case({"type": "focal"}),
    "focal_0": Case({"type": "focal", "gamma": 0.0}),
    "focal_half": Case({"type": "focal", "gamma": 0.5}),
    "focal_5": Case({"type": "focal", "gamma": 5.0}, spread=6.0),
    "focal_weights": Case({"type": "focal"}, class_weights=WEIGHTS),
    "bce_one": Case({"type": "bce"}),
    "bce_one_all": Case({"type": "bce"}, 0.1, WEIGHTS, mixed=True),
    "bce_one_threshold": Case({"type": "bce", "target_threshold": 0.2}, 0.1, mixed=True),
    "bce": Case({"type": "bce"}, several=True),
    "bce_smoothing": Case({"type": "bce"}, 0.2, several=True),
    "bce_all": Case({"type": "bce"}, 0.1, WEIGHTS, mixed=True, several=True),
    "focal_labels": Case({"type": "focal"}, several=True),
    "focal_labels_0": Case({"type": "focal", "gamma": 0.0}, several=True),
    "focal_labels_half": Case({"type": "focal", "gamma": 0.5}, spread=6.0, several=True),
    "focal_labels_alpha": Case({"type": "focal", "alpha": 0.25}, several=True),
    "focal_labels_all": Case(
        {"type": "focal", "gamma": 1.5, "alpha": 0.4}, 0.1, WEIGHTS, mixed=True, several=True
    ),
    "focal_all": Case({"type": "focal", "gamma": 1.5}, 0.2, WEIGHTS, mixed=True),
}


def arrays_of(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return scores (n, classes), labels and partners' labels, (n,) or (n, classes), and fractions
    (n,).
    """
    rng = np.random.default_rng(list(name.encode()))
    labels = rng.integers(0, CLASSES, IMAGES)
    if CASES[name].several:
        labels = (rng.random((IMAGES, CLASSES)) < 0.4).astype(np.uint8)
    return {
        "logits": rng.normal(0, CASES[name].spread, (IMAGES, CLASSES)),
        "labels": labels,
        "others": np.roll(labels, 1, axis=0),
        "ratios": rng.uniform(0, 1, IMAGES),
    }
