"""Metrics of predictions: ranks, counts and per-class scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.types import Array
from cnn_cli.structs import Struct

# 95 % of a normal distribution lie within this many standard deviations.
NORMAL_95 = 1.959963984540054
ECE_BINS = 15


class ClassScores(Struct):
    """Scores of one class; None where a score would be 0/0.

    Attributes:
        precision: fraction of the images predicted as this class that belong to it.
        recall: fraction of the images of this class that are predicted as it.
        f1: harmonic mean of the two.
        specificity: fraction of the images of other classes that are not predicted as it.
        support: number of images of this class.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    specificity: float | None
    support: int

    @classmethod
    def of(cls, right: int, predicted: int, support: int, images: int) -> ClassScores:
        """Compute the scores from counts: correct, predicted as the class, of the class, and all
        images.
        """
        return cls(
            precision=_ratio(right, predicted),
            recall=_ratio(right, support),
            f1=_ratio(2 * right, predicted + support),
            specificity=_ratio(images - support - predicted + right, images - support),
            support=int(support),
        )

    @property
    def rank(self) -> float:
        """Sort key that puts the lowest F1 first and missing ones last."""
        return 2.0 if self.f1 is None else self.f1


def top_k(probabilities: Array, k: int) -> Array:
    """Return the k most probable classes of each image, most probable first; ties in class order.

    Args:
        probabilities: (n, classes), or any scores.
        k: at least 1; all classes if larger.

    Returns:
        Class numbers, (n, min(k, classes)).
    """
    order: Array = np.argsort(-probabilities, axis=1, kind="stable")
    return order[:, :k]


def label_ranks(scores: Array, labels: Array) -> Array:
    """Return the rank of each image's own class in `top_k`: 0 if the top-1 prediction is correct.

    Args:
        scores: (n, classes).
        labels: (n,) class numbers.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)  # NaN ranks last in `top_k` too
    own = known[np.arange(len(labels)), labels, None]
    before = (known == own) & (np.arange(scores.shape[1]) < labels[:, None])
    ranks: Array = ((known > own) | before).sum(axis=1)
    return ranks


class Confusion(Struct):
    """A sparse confusion matrix: pairs of label and prediction with counts.

    With many classes, nearly all entries of a dense matrix would be 0.

    Attributes:
        classes: number of classes.
        labels, guesses: (pairs,) class numbers, sorted by label, then by prediction.
        counts: (pairs,) number of images, above 0.
    """

    classes: int
    labels: Array
    guesses: Array
    counts: Array

    @classmethod
    def of(cls, labels: Array, guesses: Array, classes: int) -> Confusion:
        """Count images.

        Args:
            labels, guesses: (n,) class numbers.
            classes: number of classes.
        """
        cells, counts = np.unique(labels.astype(np.int64) * classes + guesses, return_counts=True)
        return cls(classes, cells // classes, cells % classes, counts.astype(np.int64))

    @classmethod
    def of_matrix(cls, matrix: Array) -> Confusion:
        """Convert a (classes, classes) matrix of counts: labels in rows, predictions in columns."""
        labels, guesses = matrix.nonzero()
        return cls(len(matrix), labels, guesses, matrix[labels, guesses].astype(np.int64))

    @property
    def matrix(self) -> Array:
        """The dense (classes, classes) matrix, int64; for few classes."""
        matrix = np.zeros((self.classes, self.classes), np.int64)
        matrix[self.labels, self.guesses] = self.counts
        return matrix

    @property
    def right(self) -> Array:
        """(classes,): number of correctly predicted images of each class."""
        hits = self.labels == self.guesses
        return self._by(self.labels[hits], self.counts[hits])

    @property
    def support(self) -> Array:
        """(classes,): number of images of each class."""
        return self._by(self.labels, self.counts)

    @property
    def predicted(self) -> Array:
        """(classes,): number of images predicted as each class."""
        return self._by(self.guesses, self.counts)

    def rows(self) -> Iterator[Array]:
        """Yield the rows of the dense matrix, (classes,) each."""
        ends = np.searchsorted(self.labels, np.arange(self.classes + 1))
        for start, end in pairwise(ends):
            row = np.zeros(self.classes, np.int64)
            row[self.guesses[start:end]] = self.counts[start:end]
            yield row

    def joined(self, most: int) -> Confusion:
        """Merge neighboring classes until at most `most` are left."""
        together = ceil_div(self.classes, most)
        labels, guesses = self.labels // together, self.guesses // together
        classes = ceil_div(self.classes, together)
        joined = np.zeros((classes, classes), np.int64)
        np.add.at(joined, (labels, guesses), self.counts)
        return Confusion.of_matrix(joined)

    def _by(self, numbers: Array, counts: Array) -> Array:
        sums = np.zeros(self.classes, np.int64)
        np.add.at(sums, numbers, counts)
        return sums


def per_class(confusion: Confusion, names: Sequence[str]) -> dict[str, ClassScores]:
    """Return the scores of every class, in the order of `names`.

    Args:
        confusion: the confusion matrix.
        names: class names.
    """
    right, predicted, support = confusion.right, confusion.predicted, confusion.support
    images = int(support.sum())
    return {
        name: ClassScores.of(right[i], predicted[i], support[i], images)
        for i, name in enumerate(names)
    }


def f1_scores(confusion: Confusion) -> tuple[float | None, float | None]:
    """Return macro F1, and F1 weighted by support.

    Classes without images and predictions are left out.
    """
    predicted, support = confusion.predicted, confusion.support
    known = (predicted + support) > 0
    if not known.any():
        return None, None
    scores = 2 * confusion.right[known] / (predicted + support)[known]
    return float(scores.mean()), float((scores * support[known]).sum() / support.sum())


def balanced_accuracy(confusion: Confusion) -> float | None:
    """Return the mean recall of the classes that have images."""
    support = confusion.support
    known = support > 0
    return float((confusion.right[known] / support[known]).mean()) if known.any() else None


def kappa(confusion: Confusion) -> float | None:
    """Return Cohen's kappa (1960): accuracy corrected for chance agreement.

    None if chance agreement is complete: one class, and only predictions of it.
    """
    images = int(confusion.counts.sum())
    by_chance = _matches_by_chance(confusion)
    if by_chance == images**2:
        return None
    right = int(confusion.right.sum())
    return (right * images - by_chance) / (images**2 - by_chance)


def matthews(confusion: Confusion) -> float | None:
    """Return the Matthews correlation coefficient for several classes (Gorodkin 2004).

    0 if all labels or all predictions are one class, as in scikit-learn; None without images.
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
    """Return the number of pairs of any label and any prediction that are the same class."""
    return int((confusion.predicted * confusion.support).sum())


def ranking_scores(scores: Array, own: Array) -> tuple[float, float] | None:
    """Measure how well scores rank images of a class above all others.

    Args:
        scores: (n,), finite.
        own: (n,) whether the image belongs to the class.

    Returns:
        Area under the ROC curve (ties count half) and average precision (the mean, over the images
        of the class, of the precision at their scores). None if all or no images belong to the
        class.
    """
    everyone, mine = np.sort(scores), np.sort(scores[own])
    n, positives = len(everyone), len(mine)
    if positives in (0, n):
        return None
    levels, first, here = np.unique(mine, return_index=True, return_counts=True)
    below = np.searchsorted(everyone, levels, "left")
    equal = np.searchsorted(everyone, levels, "right") - below - here
    before = here * (2 * (below - first) + equal)  # twice the pairs, to stay in integers
    auc = int(before.sum()) / (2 * positives * (n - positives))
    precision = here * ((positives - first) / (n - below))
    return auc, float(precision.sum() / positives)


def threshold_curve(scores: Array, own: Array) -> tuple[Array, Array]:
    """Return the counts at each threshold, from the highest score to the lowest.

    Args:
        scores, own: as in `ranking_scores`.

    Returns:
        (thresholds,) number of images of the class, and of all images, with a score at or above it.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    return np.cumsum(own[order])[ends], ends + 1


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the Wilson 95 % confidence interval of accuracy (1927).

    Unlike the normal approximation it stays within 0 and 1 and is valid for few images and for
    accuracies near 0 and 1.

    Args:
        correct: number of correctly classified images.
        images: number of images, at least 1.
    """
    share, z2 = correct / images, NORMAL_95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    spread = sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    half = NORMAL_95 * spread / (1 + z2 / images)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def calibration_bins(confidences: Array, right: Array) -> tuple[Array, Array, Array]:
    """Group images by the probability of their top-1 prediction into 15 equally wide bins.

    Bin m contains probabilities above (m-1)/15 up to m/15.

    Args:
        confidences: (n,) the probabilities.
        right: (n,) whether the top-1 prediction is correct.

    Returns:
        For each bin the number of images, the sum of the probabilities, and the number of correct
        predictions.
    """
    # Values that are not finite remain in the sums.
    places = np.nan_to_num(np.ceil(confidences * ECE_BINS))
    bins = places.astype(np.int64).clip(1, ECE_BINS) - 1
    sums = [np.bincount(bins, of, ECE_BINS) for of in (None, confidences, right)]
    return sums[0].astype(np.int64), sums[1], sums[2].astype(np.int64)


def expected_calibration_error(confidences: Array, right: Array) -> float:
    """Return the expected calibration error, from 0 to 1 (Naeini et al. 2015).

    Images are grouped into 15 equally wide bins by confidence; the error is the mean over the
    images of |accuracy − mean confidence| in their bin (Guo et al. 2017, equation 3).

    Args:
        confidences, right: as in `calibration_bins`, of at least one image.
    """
    images, confidence, hits = calibration_bins(confidences, right)
    return float(np.abs(hits - confidence).sum() / images.sum())


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
