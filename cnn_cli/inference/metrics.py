"""How good predictions are: ranks, counts and per-class scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt

import numpy as np

from cnn_cli.nn.types import Array
from cnn_cli.structs import Struct

NORMAL_95 = 1.959963984540054  # 95 % of a normal distribution lie within so many deviations
ECE_BINS = 15


class ClassScores(Struct):
    """How well one class is told from the others; None where a score would be 0/0.

    Attributes:
        precision: share of the images predicted as this class that are of it.
        recall: share of the images of this class that are predicted as it.
        f1: harmonic mean of the two.
        specificity: share of the images of other classes that are not predicted as it.
        support: images of this class.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    specificity: float | None
    support: int

    @classmethod
    def of(cls, right: int, predicted: int, support: int, images: int) -> ClassScores:
        """Of counts: images that are right, that were predicted as the class, of it, and all."""
        return cls(
            precision=_ratio(right, predicted),
            recall=_ratio(right, support),
            f1=_ratio(2 * right, predicted + support),
            specificity=_ratio(images - support - predicted + right, images - support),
            support=int(support),
        )

    @property
    def rank(self) -> float:
        """For an order in which the lowest F1 scores come first, and what has none last."""
        return 2.0 if self.f1 is None else self.f1


def top_k(probabilities: Array, k: int) -> Array:
    """The k likeliest classes of each image, likeliest first; equal ones in class order.

    Args:
        probabilities: (n, classes), or any scores.
        k: at least 1; more than there are classes means all.

    Returns:
        Class numbers, (n, min(k, classes)).
    """
    order: Array = np.argsort(-probabilities, axis=1, kind="stable")
    return order[:, :k]


def label_ranks(scores: Array, labels: Array) -> Array:
    """How many classes `top_k` has before each image's own: 0 where the first guess is right.

    Args:
        scores: (n, classes).
        labels: (n,) class numbers.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)  # which come last there, too
    own = known[np.arange(len(labels)), labels, None]
    before = (known == own) & (np.arange(scores.shape[1]) < labels[:, None])
    ranks: Array = ((known > own) | before).sum(axis=1)
    return ranks


class Confusion(Struct):
    """How many images of a class were taken for which: pairs with counts.

    Of many classes almost no pair has images, so that a matrix of them would be mostly zeros.

    Attributes:
        classes: how many there are.
        labels, guesses: (pairs,) class numbers, in the order of labels, then of guesses.
        counts: (pairs,) images, above 0.
    """

    classes: int
    labels: Array
    guesses: Array
    counts: Array

    @classmethod
    def of(cls, labels: Array, guesses: Array, classes: int) -> Confusion:
        """Of images.

        Args:
            labels, guesses: (n,) class numbers.
            classes: how many there are.
        """
        cells, counts = np.unique(labels.astype(np.int64) * classes + guesses, return_counts=True)
        return cls(classes, cells // classes, cells % classes, counts.astype(np.int64))

    @classmethod
    def of_matrix(cls, matrix: Array) -> Confusion:
        """Of a (classes, classes) matrix of counts: labels in rows, guesses in columns."""
        labels, guesses = matrix.nonzero()
        return cls(len(matrix), labels, guesses, matrix[labels, guesses].astype(np.int64))

    @property
    def matrix(self) -> Array:
        """The (classes, classes) counts, int64: of few classes."""
        matrix = np.zeros((self.classes, self.classes), np.int64)
        matrix[self.labels, self.guesses] = self.counts
        return matrix

    @property
    def right(self) -> Array:
        """(classes,): images of each class that were taken for it."""
        hits = self.labels == self.guesses
        return self._by(self.labels[hits], self.counts[hits])

    @property
    def support(self) -> Array:
        """(classes,): images of each class."""
        return self._by(self.labels, self.counts)

    @property
    def predicted(self) -> Array:
        """(classes,): images that were taken for each class."""
        return self._by(self.guesses, self.counts)

    def rows(self) -> Iterator[Array]:
        """The matrix, a (classes,) row after the other."""
        ends = np.searchsorted(self.labels, np.arange(self.classes + 1))
        for start, end in pairwise(ends):
            row = np.zeros(self.classes, np.int64)
            row[self.guesses[start:end]] = self.counts[start:end]
            yield row

    def joined(self, most: int) -> Confusion:
        """With as many neighbouring classes as one as it takes to have `most` at most."""
        together = -(-self.classes // most)
        labels, guesses = self.labels // together, self.guesses // together
        classes = -(-self.classes // together)
        joined = np.zeros((classes, classes), np.int64)
        np.add.at(joined, (labels, guesses), self.counts)
        return Confusion.of_matrix(joined)

    def _by(self, numbers: Array, counts: Array) -> Array:
        sums = np.zeros(self.classes, np.int64)
        np.add.at(sums, numbers, counts)
        return sums


def per_class(confusion: Confusion, names: Sequence[str]) -> dict[str, ClassScores]:
    """Scores of every class, in the order of `names`.

    Args:
        confusion: of the images.
        names: of the classes.
    """
    right, predicted, support = confusion.right, confusion.predicted, confusion.support
    images = int(support.sum())
    return {
        name: ClassScores.of(right[i], predicted[i], support[i], images)
        for i, name in enumerate(names)
    }


def f1_scores(confusion: Confusion) -> tuple[float | None, float | None]:
    """The mean F1 score of the classes, and their mean weighted by support.

    Classes without images that no image was taken for have none, as in scikit-learn.
    """
    predicted, support = confusion.predicted, confusion.support
    known = (predicted + support) > 0
    if not known.any():
        return None, None
    scores = 2 * confusion.right[known] / (predicted + support)[known]
    return float(scores.mean()), float((scores * support[known]).sum() / support.sum())


def balanced_accuracy(confusion: Confusion) -> float | None:
    """The mean recall of the classes that have images."""
    support = confusion.support
    known = support > 0
    return float((confusion.right[known] / support[known]).mean()) if known.any() else None


def kappa(confusion: Confusion) -> float | None:
    """Cohen's kappa (1960): accuracy, corrected for what chance would get right.

    None where chance would get all right: one class, and no other guess.
    """
    images = int(confusion.counts.sum())
    by_chance = _matches_by_chance(confusion)
    if by_chance == images**2:
        return None
    right = int(confusion.right.sum())
    return (right * images - by_chance) / (images**2 - by_chance)


def matthews(confusion: Confusion) -> float | None:
    """Matthews' correlation coefficient for several classes (Gorodkin 2004).

    0 where all images or all guesses are of one class, as in scikit-learn; None without images.
    """
    images = int(confusion.counts.sum())
    if not images:
        return None
    covariance = int(confusion.right.sum()) * images - _matches_by_chance(confusion)
    spreads = [
        images**2 - int((counts**2).sum()) for counts in (confusion.predicted, confusion.support)
    ]
    return covariance / sqrt(spreads[0] * spreads[1]) if all(spreads) else 0.0


def _matches_by_chance(confusion: Confusion) -> int:
    """Pairs of an image and a guess, each any of all, that are of one class."""
    return int((confusion.predicted * confusion.support).sum())


def ranking_scores(scores: Array, own: Array) -> tuple[float, float] | None:
    """How well scores order images of a class before all others.

    Args:
        scores: (n,), finite.
        own: (n,) whether the image is of the class.

    Returns:
        The area under the ROC curve: the share of pairs of an image of the class and another one
        whose scores are in the right order, equal ones counting half. And the average precision:
        the mean, over the images of the class, of the precision at their scores. None where all
        images are of the class, or none.
    """
    everyone, mine = np.sort(scores), np.sort(scores[own])
    n, positives = len(everyone), len(mine)
    if positives in (0, n):
        return None
    levels, first, here = np.unique(mine, return_index=True, return_counts=True)
    below = np.searchsorted(everyone, levels, "left")
    equal = np.searchsorted(everyone, levels, "right") - below - here
    before = here * (2 * (below - first) + equal)  # twice the pairs, so that they are whole
    auc = int(before.sum()) / (2 * positives * (n - positives))
    precision = here * ((positives - first) / (n - below))
    return auc, float(precision.sum() / positives)


def threshold_curve(scores: Array, own: Array) -> tuple[Array, Array]:
    """What is found at each threshold, from the highest down to the lowest score.

    Args:
        scores, own: of `ranking_scores`.

    Returns:
        (thresholds,) images of the class, and all images, whose scores are at or above it.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    return np.cumsum(own[order])[ends], ends + 1


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """Where the accuracy lies that `correct` of `images` are a sample of, with 95 % confidence.

    Unlike the normal approximation, Wilson's interval (1927) stays within 0 and 1 and holds for
    few images and for shares near 0 and 1.

    Args:
        correct: images that were classified right.
        images: at least 1.
    """
    share, z2 = correct / images, NORMAL_95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    spread = sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    half = NORMAL_95 * spread / (1 + z2 / images)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def calibration_bins(confidences: Array, right: Array) -> tuple[Array, Array, Array]:
    """Images by the probability of their first guess.

    There are 15 equally wide bins, bin m from above (m-1)/15 to m/15.

    Args:
        confidences: (n,) that probability.
        right: (n,) whether the first guess is the image's class.

    Returns:
        Of each bin the images, the sum of those probabilities, and how many guesses are right.
    """
    confidences = confidences.astype(np.float64)
    places = np.nan_to_num(np.ceil(confidences * ECE_BINS))  # what is not finite stays in the sums
    bins = places.astype(np.int64).clip(1, ECE_BINS) - 1
    sums = [np.bincount(bins, of, ECE_BINS) for of in (None, confidences, right)]
    return sums[0].astype(np.int64), sums[1], sums[2].astype(np.int64)


def expected_calibration_error(confidences: Array, right: Array) -> float:
    """How far confidence and accuracy are apart, 0 to 1 (Naeini et al. 2015).

    Images are put into 15 equally wide bins by the probability of their first guess; the mean over
    the images of |accuracy − mean confidence| of their bin (Guo et al. 2017, equation 3).

    Args:
        confidences, right: of `calibration_bins`; of at least one image.
    """
    images, confidence, hits = calibration_bins(confidences, right)
    return float(np.abs(hits - confidence).sum() / images.sum())


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
