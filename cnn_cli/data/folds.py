"""Folds: parts of a data set, each of which is validated on once, by a training on the others.

Images that must stay together make a unit: copies of one image, and those of one group. The units
are dealt out one after the other, larger ones first and then by their hashes, each to the fold that
has the least of its classes so far, as scikit-learn's StratifiedGroupKFold does. Where no unit has
images of two classes, two folds differ by one unit of a class at most. Names, places and order of
files have no part in it.

Where images have several labels, units of equal size are dealt out by their rarest label, the
rarest of all first: there is the least choice (Sechidis et al. 2011, Iterative Stratification).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.targets import are_multiple, memberships

MOST_FOLDS = 1000
_FOLD = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fold:
    """One of several folds, written `2/5`.

    Attributes:
        number: from 1 to `count`.
        count: 2 or more.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Fold | None:
        """The fold that is written so; None where it is none."""
        found = _FOLD.fullmatch(text)
        if found is None:
            return None
        fold = cls(int(found[1]), int(found[2]))
        return fold if 2 <= fold.count <= MOST_FOLDS and fold.number <= fold.count else None


def deal_folds(
    units: NDArray[np.int64], labels: NDArray[Any], classes: int, count: int
) -> NDArray[np.int64]:
    """The fold of each image, from 0.

    Args:
        units: (images,) the unit of each, numbered by their hashes.
        labels: of the images, see `targets`.
        classes: how many there are.
        count: of folds.
    """
    several = are_multiple(labels)
    of, numbers, classes = memberships(labels, classes)
    pairs, images = np.unique(units[of] * classes + numbers, return_counts=True)
    owners, of_class = pairs // classes, (pairs % classes).tolist()
    shares = (images / np.bincount(numbers, minlength=classes)[pairs % classes]).tolist()
    starts = np.searchsorted(owners, np.arange(int(units.max(initial=-1)) + 2)).tolist()
    sizes = np.bincount(units)
    folds = np.zeros(len(sizes), np.int64)
    filled = [[0.0] * classes for _ in range(count)]
    totals = [0] * count
    order = np.argsort(-sizes, kind="stable")
    if several:
        rarest = np.full(len(sizes), len(labels))
        np.minimum.at(rarest, owners, np.bincount(numbers)[pairs % classes])
        order = np.lexsort((rarest, -sizes))
    for unit in order.tolist():
        own = range(starts[unit], starts[unit + 1])
        fold = min(
            range(count),
            key=lambda i: (
                round(sum(filled[i][of_class[row]] * shares[row] for row in own), 12),
                totals[i],
            ),
        )
        for row in own:
            filled[fold][of_class[row]] += shares[row]
        totals[fold] += int(sizes[unit])
        folds[unit] = fold
    return folds[units]
