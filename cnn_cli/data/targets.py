"""Labels of images: one class number each, or a row of 0 and 1 for all classes.

Label arrays are (n,) int64 with one class per image, or (n, classes) uint8 with any number of
labels per image (`data.labels: multiple`). This module contains everything that differs between
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]
NONE = "none"  # written for images without labels


def are_multiple(labels: NDArray[Any]) -> bool:
    """Whether images may have any number of labels."""
    return labels.ndim == 2


def class_counts(labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return (classes,): number of images of each class."""
    if are_multiple(labels):
        return np.asarray(labels.sum(axis=0, dtype=np.int64))
    return np.bincount(labels, minlength=classes)


def is_of(labels: NDArray[Any], number: int) -> NDArray[np.bool_]:
    """Return (n,): whether each image belongs to a class."""
    found: NDArray[np.bool_] = labels[:, number] > 0 if are_multiple(labels) else labels == number
    return found


def numbers_of(labels: NDArray[Any], row: int) -> list[int]:
    """Return the class numbers of one image."""
    if are_multiple(labels):
        return [int(number) for number in labels[row].nonzero()[0]]
    return [int(labels[row])]


def has_guessed(labels: NDArray[Any], guesses: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,): whether each image belongs to its predicted class; `guesses` (n,) are class
    numbers.
    """
    if are_multiple(labels):
        return np.asarray(labels[np.arange(len(labels)), guesses] > 0)
    return np.asarray(labels == guesses)


def memberships(
    labels: NDArray[Any], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return each pair of image and class, for code that deals out images by class.

    Images without labels get an additional class, so that they are dealt out evenly too.

    Returns:
        (pairs,) positions of images, (pairs,) class numbers, and the number of classes.
    """
    if not are_multiple(labels):
        return np.arange(len(labels)), labels, classes
    alone = ~labels.any(axis=1)
    images, numbers = np.column_stack([labels, alone]).nonzero()
    return images, numbers, classes + 1


def renumbered(labels: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Renumber labels for another order of classes; `numbers` (classes,) are the new numbers."""
    if not are_multiple(labels):
        return np.asarray(numbers[labels])
    found = np.empty_like(labels)
    found[:, numbers] = labels
    return found


def rows_of(names: Sequence[Sequence[str]], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return (n, classes): the labels of images, without labels that are not in `classes`."""
    numbers = {name: i for i, name in enumerate(classes)}
    rows = np.zeros((len(names), len(classes)), np.uint8)
    for row, labels in zip(rows, names, strict=True):
        row[[numbers[name] for name in labels if name in numbers]] = 1
    return rows
