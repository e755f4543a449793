"""Confident learning: labels that are probably wrong (Northcutt, Jiang and Chuang 2021).

Wanted are probabilities p of images by networks that were not trained on them. An image counts as
class j where p[j] reaches that class's threshold, the mean of p[j] over the images labelled j, so
that a class that the network is never sure of is not held to the standard of others. The confident
joint counts images by their label and the class that they count as; what lies off its diagonal is
doubted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.types import Array

TOLERANCE = 1e-6  # how far below its threshold a probability may be rounded


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Images whose label is contradicted, those with the least probability of it first.

    The paper ranks by this (its self-confidence) or by the margin to the next class. With wrong
    labels planted in 2,500 pictures, it had more of them among the first.

    Attributes:
        rows: (doubts,) which images they are.
        suggested: (doubts,) the class that each counts as.
        thresholds: (classes,) infinite where no image has the class as its label.
        joint: (classes, classes) estimated numbers of images by label and true class.
    """

    rows: Array
    suggested: Array
    thresholds: Array
    joint: Array

    @property
    def estimated_wrong(self) -> float:
        """How many labels are wrong by the joint, to which the networks' own mistakes add."""
        return float(self.joint.sum() - np.trace(self.joint))


def find_doubts(probabilities: Array, labels: Array) -> Doubts:
    """The images whose label is contradicted.

    One that counts as another class is doubted unless its label is the likeliest class all the
    same.

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
    """Of several labels: which answers, to whether an image is of a class, are contradicted.

    Attributes:
        wrong: (n, classes) those answers.
        own: (n, classes) the probabilities of the answers that the labels give.
        thresholds: (classes,) of `Doubts`, of having the label.
        estimated_wrong: how many answers are wrong, see `Doubts`.
    """

    wrong: Array
    own: Array
    thresholds: Array
    estimated_wrong: float

    @property
    def rows(self) -> Array:
        """The images with such an answer, that with the least probable one first."""
        least = np.where(self.wrong, self.own, np.inf).min(axis=1)
        found = np.flatnonzero(self.wrong.any(axis=1))
        order: Array = found[np.argsort(least[found], kind="stable")]
        return order

    def worst(self, row: int) -> int:
        """The class of an image whose answer is the least probable one."""
        return int(np.where(self.wrong[row], self.own[row], np.inf).argmin())


def find_answer_doubts(probabilities: Array, labels: Array) -> AnswerDoubts:
    """The same of several labels: each class is a question of its own, with two answers.

    Args:
        probabilities: (n, classes), finite, each for itself from 0 to 1.
        labels: (n, classes) 0 and 1.
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
    """(classes,) the mean probability of the label over each class's images.

    Args:
        own: (n,) probabilities of the labels.
        labels: (n,) class numbers.
        classes: how many there are.
    """
    sizes = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    limits: Array = np.divide(sums, sizes, out=np.full(classes, np.inf), where=sizes > 0)
    return limits


def calibrated(joint: Array, sizes: Array) -> Array:
    """The confident joint with as many images in each row as have that label.

    Args:
        joint: (classes, classes) counts of images that count as a class; a label of which none
            does is taken to be right.
        sizes: (classes,) how many images have each label.
    """
    counts = joint.astype(np.float64)
    sums = counts.sum(axis=1)
    none = np.flatnonzero(sums == 0)
    counts[none, none] = sums[none] = 1
    scaled: Array = counts * (sizes / sums)[:, None]
    return scaled
