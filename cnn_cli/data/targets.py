"""What is known of images: a class number each, or a row of 0 and 1 for all classes.

Arrays of labels are one or the other: (n,) int64, each image of one class, or (n, classes) uint8,
each of several or of none (`data.labels: multiple`). What differs between them is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]
NONE = "none"  # what stands for no label


def are_multiple(labels: NDArray[Any]) -> bool:
    """Whether an image may have several labels, or none."""
    return labels.ndim == 2


def class_counts(labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """(classes,): images of each class."""
    if are_multiple(labels):
        return np.asarray(labels.sum(axis=0, dtype=np.int64))
    return np.bincount(labels, minlength=classes)


def is_of(labels: NDArray[Any], number: int) -> NDArray[np.bool_]:
    """(n,) whether each image is of a class."""
    found: NDArray[np.bool_] = labels[:, number] > 0 if are_multiple(labels) else labels == number
    return found


def numbers_of(labels: NDArray[Any], row: int) -> list[int]:
    """The classes of one image."""
    if are_multiple(labels):
        return [int(number) for number in labels[row].nonzero()[0]]
    return [int(labels[row])]


def has_guessed(labels: NDArray[Any], guesses: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) whether each image is of the class that it is taken for; `guesses` (n,) are numbers."""
    if are_multiple(labels):
        return np.asarray(labels[np.arange(len(labels)), guesses] > 0)
    return np.asarray(labels == guesses)


def memberships(
    labels: NDArray[Any], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Each class that each image is of, for what deals out images by class.

    Images without labels are of a class more, so that they are dealt out evenly, too.

    Returns:
        (pairs,) positions of images, (pairs,) numbers of classes, and how many classes there are.
    """
    if not are_multiple(labels):
        return np.arange(len(labels)), labels, classes
    alone = ~labels.any(axis=1)
    images, numbers = np.column_stack([labels, alone]).nonzero()
    return images, numbers, classes + 1


def renumbered(labels: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    """The same of classes in another order; `numbers` (classes,) are those that they have there."""
    if not are_multiple(labels):
        return np.asarray(numbers[labels])
    found = np.empty_like(labels)
    found[:, numbers] = labels
    return found


def rows_of(names: Sequence[Sequence[str]], classes: Sequence[str]) -> NDArray[np.uint8]:
    """(n, classes): the labels of images, of which those that are no class are left out."""
    numbers = {name: i for i, name in enumerate(classes)}
    rows = np.zeros((len(names), len(classes)), np.uint8)
    for row, labels in zip(rows, names, strict=True):
        row[[numbers[name] for name in labels if name in numbers]] = 1
    return rows
