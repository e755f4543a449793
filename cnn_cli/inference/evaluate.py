"""Scores of a whole split: the validation of each epoch, and `cnn eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnn_cli.data.decode import Pixels
from cnn_cli.data.loader import Batch, Loader
from cnn_cli.data.views import Views
from cnn_cli.inference.metrics import confusion_matrix
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.loss import cross_entropy, softmax, target_weights
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array

Watch = Callable[[Iterator[Batch], int], Iterator[Batch]]
"""Passes batches on; told how many images they have in all."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the network says of each readable image of a split, in the split's order.

    Attributes:
        loss: mean cross-entropy, without smoothing or class weights; NaN without images.
        losses: (n,) each image's own.
        logits, probabilities: (n, classes).
        labels: (n,).
        indices: (n,) positions in the split.
    """

    loss: float
    losses: Array
    logits: Array
    probabilities: Array
    labels: Array
    indices: Array

    @property
    def top1(self) -> float:
        """The share of images whose first guess is right; NaN without images."""
        if len(self.labels) == 0:
            return float("nan")
        return float((self.guesses == self.labels).mean())

    @property
    def guesses(self) -> Array:
        """(n,) the class of the largest probability."""
        guesses: Array = self.probabilities.argmax(axis=1)
        return guesses

    @property
    def confusion(self) -> Array:
        """See `metrics.confusion_matrix`."""
        return confusion_matrix(self.labels, self.guesses, self.probabilities.shape[1])

    @property
    def totals(self) -> Array:
        """(3,): the summed loss, how many first guesses are right, and how many images there are.

        Those of parts of a split add up to those of the whole.
        """
        right = (self.guesses == self.labels).sum()
        return np.array([self.losses.sum(dtype=np.float64), right, len(self.labels)])

    @classmethod
    def joined(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Evaluations of the parts of a split, in their order, as one."""
        parts = [part for part in parts if len(part.labels)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        names = ("losses", "logits", "probabilities", "labels", "indices")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(float(arrays["losses"].mean(dtype=np.float64)), **arrays)

    def at_temperature(self, temperature: float) -> Evaluation:
        """The same once logits are divided by a temperature, see `calibration`."""
        if temperature == 1 or len(self.labels) == 0:
            return self
        logits = self.logits / temperature
        losses = _losses(logits, self.labels)
        return replace(
            self,
            loss=float(losses.mean(dtype=np.float64)),
            losses=losses,
            logits=logits,
            probabilities=softmax(logits),
        )


def evaluate(
    engine: Engine,
    loader: Loader,
    params: Parameters | None = None,
    views: Views | None = None,
    places: slice = slice(None),
    watch: Watch | None = None,
) -> Evaluation:
    """Run a split, or a part of it, through the network.

    Args:
        engine: of the network.
        loader: of the split; lists the images it could not read in `loader.bad`.
        params: other parameters than the engine's, such as averaged ones.
        views: of each image, whose logits are averaged; the loader's images are `views.pre`.
        places: which images of the split.
        watch: shows how far it is.
    """
    classes = engine.graph.classes
    order = np.arange(len(loader.split))[places]
    batches = loader.batches(order)
    if watch is not None:
        batches = watch(batches, len(order))
    losses, scores, probabilities, labels, indices = [], [], [], [], []
    for batch in batches:
        with np.errstate(over="ignore", invalid="ignore"):  # the loss shows it
            logits = _predict(engine, batch.images, params, views)
            losses.append(_losses(logits, batch.labels))
            probabilities.append(softmax(logits))
        scores.append(logits)
        labels.append(batch.labels)
        indices.append(batch.indices)
    if not labels:
        nothing, no_scores = np.empty(0, np.int64), np.empty((0, classes))
        return Evaluation(float("nan"), np.empty(0), no_scores, no_scores, nothing, nothing)
    return Evaluation(
        float(np.concatenate(losses).mean(dtype=np.float64)),
        np.concatenate(losses),
        np.concatenate(scores),
        np.concatenate(probabilities),
        np.concatenate(labels),
        np.concatenate(indices),
    )


def _predict(
    engine: Engine, images: Pixels, params: Parameters | None, views: Views | None
) -> Array:
    """Logits (n, classes) of a batch, which stay."""
    if views is None:
        return engine.predict(images, params).copy()
    total = np.zeros((len(images), engine.graph.classes), engine.dtype)
    for weight, pixels in views.of(images):
        total += weight * engine.predict(pixels, params)
    return total


def _losses(logits: Array, labels: Array) -> Array:
    targets, _ = target_weights(labels, logits.shape[1], dtype=logits.dtype)
    losses = np.empty(len(labels), logits.dtype)
    cross_entropy(logits, targets, losses)
    return losses
