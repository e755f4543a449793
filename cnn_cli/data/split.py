"""Choose validation and test images by the content of the files.

The rule of new runs is `ranks`. Images that must stay together form a *unit*: copies of one image,
and images of one group. The units of a class are ranked by a hash of their content or of the
group's name. Validation takes the first units, testing the last ones, until each has its share. So
each class gives its share, to the nearest unit, and with two or more units at least one to each
part, as long as one remains for training. Names, places and order of files have no influence; of
groups, only the names do. If each unit has images of one class only, adding or removing a unit
moves at most one other unit to or from validation, and one to or from testing.

A unit of several classes (a group, or an image with several labels) is taken if that brings its
classes, rare ones first, closer to their shares: stratification as in Sechidis et al. 2011, in the
order of the hashes. Images without labels count as a class.

The rule of older runs is `fractions`: a file is held out if its hash, as a number in [0, 1), is
below the share. The share is met on average only, and a class may give no image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.content import HASH, Contents
from cnn_cli.data.targets import memberships

Rule = Literal["fractions", "ranks"]

TRAIN, VAL, TEST = range(3)
Parts = NDArray[np.int8]  # (images,) one of these

EMPTY = int.from_bytes(hashlib.blake2b(b"", digest_size=HASH).digest(), "big")  # files

BLOCK = 4096  # units considered at a time
ROUNDING = 1e-9
NO_GROUP = 0


def by_fractions(
    contents: Contents, labels: NDArray[np.int64], classes: int, val_split: float
) -> Parts:
    """Return the part of each image by the rule of older runs.

    A class that would lose all its images keeps them. Unreadable files stay in training, where they
    are reported.
    """
    held = contents.readable & (contents.hashes.astype(np.float64) / 2.0**64 < val_split)
    kept = np.bincount(labels[~held], minlength=classes) > 0
    return (held & kept[labels]).astype(np.int8)


def by_ranks(
    contents: Contents,
    labels: NDArray[Any],
    classes: int,
    val_split: float,
    test_split: float = 0.0,
    groups: Sequence[str] | None = None,
) -> Parts:
    """Return the part of each image by the rule of new runs.

    Unreadable and empty files stay in training, where they are reported.

    Args:
        contents: content hashes of the images.
        labels: labels of the images, see `targets`.
        classes: number of classes.
        val_split, test_split: fractions of each class's units, together below 1. Changing
            `val_split` does not change the test images.
        groups: name of each image's group, empty for images without one.
    """
    parts = np.zeros(len(labels), np.int8)
    usable = np.flatnonzero(contents.readable & (contents.hashes != EMPTY))
    if not len(usable):
        return parts
    keys = contents.hashes[usable]
    if groups is not None:
        keys = _keys_of_groups(keys, [groups[i] for i in usable.tolist()])
    _, units = np.unique(keys, return_inverse=True)
    images, numbers, classes = memberships(labels[usable], classes)
    deal = _Deal(units.astype(np.int64)[images], numbers, classes)
    deal.take(TEST, test_split, backwards=True)
    deal.take(VAL, val_split)
    parts[usable] = deal.parts[units]
    return parts


def units_of(contents: Contents, groups: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return the unit of each image, numbered by rank.

    An unreadable or empty file is a unit of its own, after the others.

    Args:
        contents, groups: as in `by_ranks`.
    """
    usable = contents.readable & (contents.hashes != EMPTY)
    keys = contents.hashes[usable]
    if groups is not None:
        keys = _keys_of_groups(keys, [groups[i] for i in np.flatnonzero(usable).tolist()])
    different, which = np.unique(keys, return_inverse=True)
    units = np.arange(len(usable)) + len(different)
    units[usable] = which
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def _keys_of_groups(hashes: NDArray[np.uint64], groups: Sequence[str]) -> NDArray[np.uint64]:
    """Return a number for each image that is equal within a unit: the least one of its groups'
    names.

    Groups that contain copies of one image form one unit.
    """
    numbers: dict[str, int] = {"": NO_GROUP}
    for name in groups:
        if name not in numbers:
            numbers[name] = _hash(name)
    keys = np.fromiter((numbers[name] for name in groups), np.uint64, len(groups))
    grouped = keys != NO_GROUP
    order = np.lexsort((keys[grouped], hashes[grouped]))
    contents, owners = hashes[grouped][order], keys[grouped][order]
    joined = _Joined()
    two = (contents[1:] == contents[:-1]) & (owners[1:] != owners[:-1])
    for one, other in zip(owners[:-1][two].tolist(), owners[1:][two].tolist(), strict=True):
        joined.join(one, other)
    alone = hashes[~grouped]
    if len(contents):  # a copy without a group joins its twin's group
        places = np.searchsorted(contents, alone).clip(max=len(contents) - 1)
        alone = np.where(contents[places] == alone, owners[places], alone)
    keys[~grouped] = alone
    different, which = np.unique(keys, return_inverse=True)
    firsts = np.array([joined.first(key) for key in different.tolist()], np.uint64)
    return np.asarray(firsts[which])


def _hash(name: str) -> int:
    digest = hashlib.blake2b(os.fsencode(name), digest_size=HASH).digest()
    return int.from_bytes(digest, "big")


class _Joined:
    """A union-find structure of numbers; a set is identified by its least number."""

    def __init__(self) -> None:
        self._less: dict[int, int] = {}

    def first(self, number: int) -> int:
        path = []
        while (less := self._less.get(number)) is not None:
            path.append(number)
            number = less
        self._less.update(dict.fromkeys(path, number))
        return number

    def join(self, one: int, other: int) -> None:
        less, more = sorted((self.first(one), self.first(other)))
        if less != more:
            self._less[more] = less


class _Deal:
    """Units, and the part of each.

    Args:
        units: (n,) unit numbers by rank, one entry for each image and class of it.
        labels: (n,) those classes.
        classes: number of classes.

    Attributes:
        parts: (units,) part of each unit.
    """

    def __init__(self, units: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> None:
        rows = np.unique(units * classes + labels)
        # One row for each class of a unit.
        self._units, self._labels = rows // classes, rows % classes
        self.parts = np.zeros(self._units[-1] + 1, np.int8)
        self._starts = np.searchsorted(self._units, np.arange(len(self.parts) + 1))
        by_class = np.argsort(self._labels, kind="stable")
        self._of_class = self._units[by_class]
        self._class_starts = np.searchsorted(self._labels[by_class], np.arange(classes + 1))

    def take(self, part: int, share: float, *, backwards: bool = False) -> None:
        """Fill a part from the units left for training.

        Args:
            part: the part to fill.
            share: fraction of each class's units.
            backwards: begin with the last unit.
        """
        if share == 0:
            return
        self._fill(part, share, backwards)
        for label in self._classes_without(TRAIN, part):
            self._move(label, part, TRAIN, backwards=not backwards, spare=0)
        for label in self._classes_without(part, TRAIN):
            self._move(label, TRAIN, part, backwards=backwards, spare=1)

    def _fill(self, part: int, share: float, backwards: bool) -> None:
        """Take each unit that brings its classes closer to their shares in total."""
        units = np.diff(self._class_starts)
        missing = (share * units).tolist()
        weights = (1 / np.maximum(units, 1)).tolist()
        waiting = sum(m > 0.5 for m in missing)  # classes that one more unit would bring closer
        for unit, labels in self._each(backwards):
            if not waiting:
                return
            if self.parts[unit] != TRAIN:
                continue
            gain = sum(
                weights[label] * (abs(missing[label]) - abs(missing[label] - 1)) for label in labels
            )
            if gain > ROUNDING:
                self.parts[unit] = part
                for label in labels:
                    waiting -= 0.5 < missing[label] <= 1.5
                    missing[label] -= 1

    def _each(self, backwards: bool) -> Iterator[tuple[int, list[int]]]:
        """Yield each unit with its classes, in the order of ranks."""
        blocks = range(0, len(self.parts), BLOCK)
        for block in reversed(blocks) if backwards else blocks:
            bounds = self._starts[block : block + BLOCK + 1]
            labels = self._labels[bounds[0] : bounds[-1]].tolist()
            bounds = (bounds - bounds[0]).tolist()
            inside = range(len(bounds) - 1)
            for i in reversed(inside) if backwards else inside:
                yield block + i, labels[bounds[i] : bounds[i + 1]]

    def _classes_without(self, part: int, other: int) -> list[int]:
        """Return classes without a unit in one part but with units in the other, by their first
        unit.
        """
        parts = self.parts[self._units]
        classes = len(self._class_starts) - 1
        none = np.bincount(self._labels[parts == part], minlength=classes) == 0
        some = np.bincount(self._labels[parts == other], minlength=classes) > 0
        found = np.flatnonzero(none & some)
        firsts = self._of_class[self._class_starts[found]]
        return [int(label) for label in found[np.lexsort((found, firsts))]]

    def _move(self, label: int, source: int, target: int, *, backwards: bool, spare: int) -> None:
        """Move a class's first unit whose classes can spare it, if there is one.

        Args:
            backwards: move the last one.
            spare: number of units that each class must keep in the source.
        """
        own = self._units_in(label, source)
        for unit in own[::-1] if backwards else own:
            labels = self._labels[self._starts[unit] : self._starts[unit + 1]]
            if all(len(self._units_in(each, source)) > spare for each in labels):
                self.parts[unit] = target
                return

    def _units_in(self, label: int, part: int) -> NDArray[np.int64]:
        own = self._of_class[self._class_starts[label] : self._class_starts[label + 1]]
        return np.asarray(own[self.parts[own] == part])
