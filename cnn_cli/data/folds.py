"""Cross-validation folds: each part of a data set is used once for validation and otherwise for
training.

Images that must stay together form a unit: copies of one image, and images of one group. Units are
dealt out one by one, larger ones first and then by their hashes, each to the fold with the fewest
images of its classes so far, as scikit-learn's StratifiedGroupKFold does. If no unit has images of
two classes, the folds differ by at most one unit per class. Names, places and order of files have
no influence.

With several labels per image, units of equal size are dealt out by their rarest label, the rarest
first, for which the choice is smallest (Sechidis et al. 2011, Iterative Stratification).
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
        count: number of folds, at least 2.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Fold | None:
        """Parse a fold; None if the text is not one."""
        found = _FOLD.fullmatch(text)
        if found is None:
            return None
        fold = cls(int(found[1]), int(found[2]))
        return fold if 2 <= fold.count <= MOST_FOLDS and fold.number <= fold.count else None


def deal_folds(
    units: NDArray[np.int64], labels: NDArray[Any], classes: int, count: int
) -> NDArray[np.int64]:
    """Return the fold of each image, from 0.

    Args:
        units: (images,) unit of each image, numbered by their hashes.
        labels: labels of the images, see `targets`.
        classes: number of classes.
        count: number of folds.
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
