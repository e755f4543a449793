"""Write `losses.npz`: `python tests/golden/make_losses.py`, with PyTorch installed.

It contains PyTorch's results for the same scores and targets, in float64: the mean loss and its
gradient. The test suite reads the file and needs no PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from loss_cases import CASES, CLASSES, Case, arrays_of
from torch.nn import functional

HERE = Path(__file__).parent


def one_hot(case: Case, arrays: dict[str, Any]) -> torch.Tensor:
    """Return (n, classes) of 0 and 1, or values between for mixed images."""

    def rows(name: str) -> torch.Tensor:
        labels = torch.tensor(arrays[name])
        return (labels if case.several else functional.one_hot(labels, CLASSES)).double()

    if not case.mixed:
        return rows("labels")
    ratios = torch.tensor(arrays["ratios"])[:, None]
    return ratios * rows("labels") + (1 - ratios) * rows("others")


def softmax_loss(logits: torch.Tensor, case: Case, arrays: dict[str, Any]) -> torch.Tensor:
    labels, targets = torch.tensor(arrays["labels"]), one_hot(case, arrays)
    weight = None if case.class_weights is None else torch.tensor(case.class_weights)
    if case.loss["type"] == "cross_entropy":
        given = targets if case.mixed else labels
        smoothing = case.label_smoothing
        return functional.cross_entropy(logits, given, weight, label_smoothing=smoothing)
    # Lin et al. 2017, equation 4, with the weights and smoothing of cross_entropy.
    targets = (1 - case.label_smoothing) * targets + case.label_smoothing / CLASSES
    if weight is not None:
        targets = targets * weight
    divisor = len(labels) if case.mixed or weight is None else weight[labels].sum()
    p = functional.softmax(logits, 1)
    modulated = (1 - p) ** case.loss.get("gamma", 2.0) * functional.log_softmax(logits, 1)
    return -(targets * modulated).sum() / divisor


def sigmoid_loss(logits: torch.Tensor, case: Case, arrays: dict[str, Any]) -> torch.Tensor:
    targets = one_hot(case, arrays)
    answers = 2 if case.several else CLASSES
    targets = (1 - case.label_smoothing) * targets + case.label_smoothing / answers
    weight = None if case.class_weights is None else torch.tensor(case.class_weights)
    if case.loss["type"] == "bce":
        if "target_threshold" in case.loss:  # as in timm.loss.BinaryCrossEntropy
            targets = targets.gt(case.loss["target_threshold"]).double()
        return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)
    # Lin et al. 2017, equation 5, for both answers to each class.
    gamma, alpha = case.loss.get("gamma", 2.0), case.loss.get("alpha")
    present, absent = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    p, positive = torch.sigmoid(logits), 1.0 if weight is None else weight
    terms = present * positive * targets * (1 - p) ** gamma * functional.logsigmoid(logits)
    terms = terms + absent * (1 - targets) * p**gamma * functional.logsigmoid(-logits)
    return -terms.mean()


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    out: dict[str, Any] = {}
    for name, case in CASES.items():
        arrays = arrays_of(name)
        logits = torch.tensor(arrays["logits"], requires_grad=True)
        sigmoids = case.several or case.loss["type"] == "bce"
        loss = (sigmoid_loss if sigmoids else softmax_loss)(logits, case, arrays)
        loss.backward()
        assert logits.grad is not None
        out[f"{name}/loss"], out[f"{name}/gradient"] = loss.item(), logits.grad.numpy()
    np.savez_compressed(HERE / "losses.npz", **out)
