"""Evaluation with several labels per image.

Each class is a binary problem with a sigmoid; an image gets the labels whose probability reaches
the class's threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.targets import has_guessed
from cnn_cli.inference.metrics import (
    ClassScores,
    ranking_scores,
    threshold_curve,
    top_k,
)
from cnn_cli.inference.metrics_by_name import MetricsByName
from cnn_cli.nn.loss import BinaryCrossEntropy, sigmoid
from cnn_cli.nn.types import Array

HALF = 0.5  # threshold of a class for which no image suggests a better one

Matrix = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelsEvaluation:
    """The network's output for each readable image of a split, in the split's order.

    Attributes:
        labels: (n, classes) of 0 and 1.
        indices: (n,) positions in the split.
        logits: (n, classes), before division by the temperature.
        losses: (n,) binary cross-entropy, without smoothing or class weights.
        temperature: divisor of the logits for losses and probabilities.
    """

    labels: Array
    indices: Array
    logits: Array
    losses: Array
    temperature: float = 1.0

    @classmethod
    def of(
        cls, logits: Array, labels: Array, indices: Array, temperature: float = 1.0
    ) -> LabelsEvaluation:
        """Evaluate the logits of some images."""
        losses = np.empty(len(labels), logits.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the loss
            scaled = logits if temperature == 1 else logits / temperature
            BinaryCrossEntropy().forward(scaled, labels.astype(logits.dtype), losses)
        return cls(labels, indices, logits, losses, temperature)

    @classmethod
    def joined(cls, parts: Sequence[LabelsEvaluation]) -> LabelsEvaluation:
        """Concatenate evaluations of the parts of a split."""
        return cls(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.losses for part in parts]),
            parts[0].temperature,
        )

    def at(self, rows: Array) -> LabelsEvaluation:
        """Select images, possibly repeated.

        Args:
            rows: positions in these arrays.
        """
        arrays = (self.labels[rows], self.indices[rows], self.logits[rows], self.losses[rows])
        return LabelsEvaluation(*arrays, self.temperature)

    def at_temperature(self, temperature: float) -> LabelsEvaluation:
        """Evaluate again with the logits divided by a temperature."""
        return LabelsEvaluation.of(self.logits, self.labels, self.indices, temperature)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.logits.shape[1])

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def probabilities(self) -> Array:
        """(n, classes), each independently from 0 to 1."""
        return sigmoid(self.logits if self.temperature == 1 else self.logits / self.temperature)

    def probabilities_by_class(self) -> Iterator[Array]:
        """Yield the probabilities (n,) of one class after another."""
        yield from self.probabilities.T

    @property
    def totals(self) -> Array:
        """(3,): summed loss, number of images whose most probable class is among their labels, and
        number of images; see `Evaluation.totals`.
        """
        if not len(self.labels):
            return np.zeros(3)
        right = has_guessed(self.labels, self.logits.argmax(axis=1)) & self.scored
        return np.array([self.losses.sum(dtype=np.float64), right.sum(), len(self.labels)])

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) whether all scores of an image are finite; if not, no label of it is right."""
        return np.asarray(np.isfinite(self.logits).all(axis=1))


def best_thresholds(evaluation: LabelsEvaluation) -> tuple[float, ...]:
    """Return for each class the threshold with the highest F1 score on these images.

    It lies halfway between two probabilities of images. Ties are resolved in favor of the one
    nearest to 1/2; so are classes that all images or none have.
    """
    probabilities = evaluation.probabilities.astype(np.float64)
    if not np.isfinite(probabilities).all():
        return (HALF,) * evaluation.classes
    columns = zip(probabilities.T, evaluation.labels.T > 0, strict=True)
    return tuple(_best_threshold(scores, own) for scores, own in columns)


def _best_threshold(scores: Array, own: Array) -> float:
    positives = int(own.sum())
    if positives in (0, len(own)):
        return HALF
    right, chosen = threshold_curve(scores, own)
    levels = -np.unique(-scores)  # descending, as in the curve
    between = (levels + np.append(levels[1:], 0)) / 2
    f1 = 2 * right / (chosen + positives)
    best = np.flatnonzero(f1 == f1.max())
    nearest: Array = between[best[np.abs(between[best] - HALF).argmin()]]
    return float(nearest)


class LabelsJudgement(MetricsByName):
    """The metrics of an evaluation, each computed on first use.

    A metric is None if it is undefined for these images, such as the recall of a class without
    images, or not finite. Means over classes leave such classes out.

    Args:
        evaluation: the evaluation.
        classes: class names, in the network's order.
        thresholds: threshold of each class.
    """

    evaluation: LabelsEvaluation

    def __init__(
        self, evaluation: LabelsEvaluation, classes: Sequence[str], thresholds: Sequence[float]
    ) -> None:
        self.evaluation = evaluation
        self.classes = classes
        self.thresholds = thresholds

    def top_k(self, k: int) -> float:
        """Fraction of images with a label among their k most probable classes."""
        found = top_k(self.evaluation.logits, k)
        hits = np.take_along_axis(self.evaluation.labels, found, axis=1).any(axis=1)
        return float(hits.mean())

    @property
    def loss(self) -> float:
        """The mean binary cross-entropy."""
        return self.evaluation.loss

    @property
    def macro_f1(self) -> float | None:
        """Macro F1: the mean of the classes' F1 scores."""
        known = [each.f1 for each in self.by_class.values() if each.f1 is not None]
        return float(np.mean(known)) if known else None

    @property
    def weighted_f1(self) -> float | None:
        """The classes' F1 scores, weighted by support."""
        known = [(each.f1, each.support) for each in self.by_class.values() if each.f1 is not None]
        support = sum(number for _, number in known)
        return float(sum(f1 * number for f1, number in known) / support) if support else None

    @property
    def micro_f1(self) -> float | None:
        """Micro F1: F1 over all labels of all images."""
        right, chosen, own = (int(counts.sum()) for counts in self._counts)
        return 2 * right / (chosen + own) if chosen + own else None

    @property
    def subset_accuracy(self) -> float:
        """Fraction of images whose predicted labels are exactly right."""
        return float(self.right.mean())

    @property
    def brier(self) -> float:
        """Brier score: mean squared error of the probabilities, over images and classes."""
        errors = self.evaluation.probabilities - self.evaluation.labels
        return float((errors**2).mean(dtype=np.float64))

    @property
    def auc(self) -> float | None:
        """Mean area under the ROC curves of the classes."""
        known = [each[0] for each in self.rankings if each is not None]
        return float(np.mean(known)) if known else None

    @property
    def average_precision(self) -> float | None:
        """Mean average precision of the classes (mAP)."""
        known = [each[1] for each in self.rankings if each is not None]
        return float(np.mean(known)) if known else None

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether an image's predicted labels are exactly right."""
        same: NDArray[np.bool_] = (self.found == (self.evaluation.labels > 0)).all(axis=1)
        return same & self.evaluation.scored

    @cached_property
    def found(self) -> NDArray[np.bool_]:
        """(n, classes) the predicted labels."""
        reached: NDArray[np.bool_] = self.evaluation.probabilities >= np.array(self.thresholds)
        return reached

    @cached_property
    def rankings(self) -> list[tuple[float, float] | None]:
        """`ranking_scores` of each class."""
        of = self.evaluation
        if not np.isfinite(of.logits).all():
            return [None] * of.classes
        columns = zip(of.logits.T, of.labels.T > 0, strict=True)
        return [ranking_scores(scores, own) for scores, own in columns]

    @cached_property
    def by_class(self) -> dict[str, ClassScores]:
        images = len(self.evaluation.labels)
        counts = zip(*(each.tolist() for each in self._counts), strict=True)
        return {
            name: ClassScores.of(right, chosen, own, images)
            for name, (right, chosen, own) in zip(self.classes, counts, strict=True)
        }

    @property
    def confusions(self) -> Matrix:
        """(classes, 4): number of images that are TN, FP, FN, TP for each label."""
        right, chosen, own = self._counts
        others = len(self.evaluation.labels) - own - (chosen - right)
        return np.column_stack([others, chosen - right, own - right, right])

    @cached_property
    def _counts(self) -> tuple[Matrix, Matrix, Matrix]:
        """(classes,) number of labels that are predicted correctly, predicted, and present."""
        own = self.evaluation.labels > 0
        return (self.found & own).sum(axis=0), self.found.sum(axis=0), own.sum(axis=0)
