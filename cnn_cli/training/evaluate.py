"""Scores of a whole split: the validation of each epoch, and `cnn eval`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.data.loader import Loader
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.loss import cross_entropy, softmax, target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the network says of each readable image of a split, in the split's order.

    Attributes:
        loss: mean cross-entropy, without smoothing or class weights; NaN without images.
        probabilities: (n, classes).
        labels: (n,).
        indices: (n,) positions in the split.
    """

    loss: float
    probabilities: Array
    labels: Array
    indices: Array

    @property
    def top1(self) -> float:
        """The share of images whose first guess is right; NaN without images."""
        if len(self.labels) == 0:
            return float("nan")
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())


def evaluate(engine: Engine, loader: Loader, params: Parameters | None = None) -> Evaluation:
    """Run a split through the network.

    Args:
        engine: of the network.
        loader: of the split; lists the images it could not read in `loader.bad`.
        params: other parameters than the engine's, such as averaged ones.
    """
    classes = engine.graph.classes
    losses, probabilities, labels, indices = [], [], [], []
    for batch in loader.batches(np.arange(len(loader.split))):
        targets, _ = target_weights(batch.labels, classes, dtype=engine.dtype)
        row_losses = np.empty(len(batch), engine.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss shows it
            logits = engine.predict(batch.images, params)
            cross_entropy(logits, targets, row_losses)
            probabilities.append(softmax(logits))
        losses.append(row_losses)
        labels.append(batch.labels)
        indices.append(batch.indices)
    if not labels:
        nothing = np.empty(0, np.int64)
        return Evaluation(float("nan"), np.empty((0, classes)), nothing, nothing)
    return Evaluation(
        float(np.concatenate(losses).mean(dtype=np.float64)),
        np.concatenate(probabilities),
        np.concatenate(labels),
        np.concatenate(indices),
    )
