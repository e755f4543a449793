"""How good predictions are: counts and per-class scores of whole arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.types import Array


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


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
