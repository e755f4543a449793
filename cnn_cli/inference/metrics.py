"""How good predictions are: counts and per-class scores of whole arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from cnn_cli.nn.types import Array

NORMAL_95 = 1.959963984540054  # 95 % of a normal distribution lie within so many deviations
ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well one class is told from the others, as scikit-learn's `classification_report`.

    Attributes:
        precision: share of the images predicted as this class that are of it.
        recall: share of the images of this class that are predicted as it.
        f1: harmonic mean of the two. All three are 0 where they would be 0/0.
        support: images of this class.
    """

    precision: float
    recall: float
    f1: float
    support: int


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


def top_k_correct(scores: Array, labels: Array, k: int) -> int:
    """How many images have their label among the first k classes of `top_k`.

    Args:
        scores: (n, classes).
        labels: (n,) class numbers.
    """
    return int((top_k(scores, k) == labels[:, None]).any(axis=1).sum())


def confusion_matrix(labels: Array, predictions: Array, classes: int) -> Array:
    """Images by their label (row) and the class predicted (column).

    Args:
        labels, predictions: (n,) class numbers.

    Returns:
        int64, (classes, classes).
    """
    cells = labels.astype(np.int64) * classes + predictions
    counts = np.bincount(cells, minlength=classes * classes)
    return counts.astype(np.int64).reshape(classes, classes)


def per_class(confusion: Array, names: Sequence[str]) -> dict[str, ClassScores]:
    """Scores of every class, in the order of `names`.

    Args:
        confusion: (classes, classes), of `confusion_matrix`.
        names: of the classes.
    """
    correct = confusion.diagonal()
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return {
        name: ClassScores(
            precision=_ratio(correct[i], predicted[i]),
            recall=_ratio(correct[i], support[i]),
            f1=_ratio(2 * correct[i], predicted[i] + support[i]),
            support=int(support[i]),
        )
        for i, name in enumerate(names)
    }


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


def calibration_bins(probabilities: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Images by the probability of their first guess.

    There are 15 equally wide bins, bin m from above (m-1)/15 to m/15.

    Args:
        probabilities: (n, classes).
        labels: (n,) class numbers.

    Returns:
        Of each bin the images, the sum of those probabilities, and how many guesses are right.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bins = np.ceil(confidence * ECE_BINS).astype(np.int64).clip(1, ECE_BINS) - 1
    sums = [np.bincount(bins, of, ECE_BINS) for of in (None, confidence, right)]
    return sums[0].astype(np.int64), sums[1], sums[2].astype(np.int64)


def expected_calibration_error(probabilities: Array, labels: Array) -> float:
    """How far confidence and accuracy are apart, 0 to 1 (Naeini et al. 2015).

    Images are put into 15 equally wide bins by the probability of their first guess; the mean over
    the images of |accuracy − mean confidence| of their bin (Guo et al. 2017, equation 3).

    Args:
        probabilities: (n, classes), n at least 1.
        labels: (n,) class numbers.
    """
    images, confidence, right = calibration_bins(probabilities, labels)
    return float(np.abs(right - confidence).sum() / images.sum())


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
