"""Confident learning: find probably wrong labels (Northcutt, Jiang and Chuang 2021).

The input is out-of-sample probabilities p. An image counts as class j if p[j] reaches the threshold
of that class, the mean of p[j] over the images labeled j. So a class with generally low confidence
has a low threshold. The confident joint counts images by their label and the class they count as;
off-diagonal entries are doubtful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.types import Array

TOLERANCE = 1e-6  # tolerance for rounded probabilities at a threshold


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Images with a doubtful label, least probable label first.

    The paper ranks by the label's probability (self-confidence) or by the margin to the next class.
    With wrong labels planted in 2,500 images, self-confidence ranked more of them first.

    Attributes:
        rows: (doubts,) the images.
        suggested: (doubts,) the class that each counts as.
        thresholds: (classes,) infinite for classes without images.
        joint: (classes, classes) estimated number of images by label and true class.
    """

    rows: Array
    suggested: Array
    thresholds: Array
    joint: Array

    @property
    def estimated_wrong(self) -> float:
        """Estimated number of wrong labels by the joint; the networks' own errors add to it."""
        return float(self.joint.sum() - np.trace(self.joint))


def find_doubts(probabilities: Array, labels: Array) -> Doubts:
    """Find images with a doubtful label.

    An image that counts as another class is doubtful unless its label is still the most probable
    class.

    Args:
        probabilities: (n, classes), finite.
        labels: (n,) class numbers.
    """
    classes = probabilities.shape[1]
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    limits = class_thresholds(own, labels, classes)
    confident = np.where(probabilities >= limits - TOLERANCE, probabilities, -np.inf)
    counted = confident.argmax(axis=1)
    sure = confident[rows, counted] > -np.inf
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[sure], counted[sure]), 1)
    doubted = np.flatnonzero(sure & (counted != labels) & (own < probabilities.max(axis=1)))
    other = probabilities[doubted, counted[doubted]]
    doubted = doubted[np.lexsort((-other, own[doubted]))]
    sizes = np.bincount(labels, minlength=classes)
    return Doubts(doubted, counted[doubted], limits, calibrated(joint, sizes))


@dataclass(frozen=True, slots=True, eq=False)
class AnswerDoubts:
    """Doubtful answers with several labels per image; an answer says whether an image has a label.

    Attributes:
        wrong: (n, classes) whether each answer is doubtful.
        own: (n, classes) the probability of each given answer.
        thresholds: (classes,) as in `Doubts`, for having the label.
        estimated_wrong: estimated number of wrong answers, see `Doubts`.
    """

    wrong: Array
    own: Array
    thresholds: Array
    estimated_wrong: float

    @property
    def rows(self) -> Array:
        """Images with a doubtful answer, least probable answer first."""
        least = np.where(self.wrong, self.own, np.inf).min(axis=1)
        found = np.flatnonzero(self.wrong.any(axis=1))
        order: Array = found[np.argsort(least[found], kind="stable")]
        return order

    def worst(self, row: int) -> int:
        """Return the class of an image's least probable answer."""
        return int(np.where(self.wrong[row], self.own[row], np.inf).argmin())


def find_answer_doubts(probabilities: Array, labels: Array) -> AnswerDoubts:
    """Find doubtful answers with several labels per image: each class is a binary problem.

    Args:
        probabilities: (n, classes), finite, each from 0 to 1.
        labels: (n, classes) of 0 and 1.
    """
    wrong = np.zeros(labels.shape, np.bool_)
    thresholds = np.empty(labels.shape[1])
    estimated_wrong = 0.0
    for number, (p, own) in enumerate(zip(probabilities.T, labels.T, strict=True)):
        found = find_doubts(np.column_stack([1 - p, p]), own.astype(np.int64))
        wrong[found.rows, number] = True
        thresholds[number] = found.thresholds[1]
        estimated_wrong += found.estimated_wrong
    own_answers = np.where(labels > 0, probabilities, 1 - probabilities)
    return AnswerDoubts(wrong, own_answers, thresholds, estimated_wrong)


def class_thresholds(own: Array, labels: Array, classes: int) -> Array:
    """Return (classes,): the mean probability of the label over each class's images.

    Args:
        own: (n,) probabilities of the labels.
        labels: (n,) class numbers.
        classes: number of classes.
    """
    sizes = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    limits: Array = np.divide(sums, sizes, out=np.full(classes, np.inf), where=sizes > 0)
    return limits


def calibrated(joint: Array, sizes: Array) -> Array:
    """Scale each row of the confident joint to the number of images with that label.

    Args:
        joint: (classes, classes) counts; a label whose images count as no class is assumed to be
            right.
        sizes: (classes,) number of images with each label.
    """
    counts = joint.astype(np.float64)
    sums = counts.sum(axis=1)
    none = np.flatnonzero(sums == 0)
    counts[none, none] = sums[none] = 1
    scaled: Array = counts * (sizes / sums)[:, None]
    return scaled
