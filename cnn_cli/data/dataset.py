"""A data set as lists of paths and class numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.content import Hashes
from cnn_cli.data.targets import Labels, are_multiple

Indices = NDArray[np.int64]
"""Positions of images in a split."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images of one part of a data set, grouped by class if each image has one.

    Attributes:
        paths: the image files.
        labels: (paths,) class numbers, or (paths, classes) of 0 and 1, see `targets`.
        groups: (paths,) names of groups whose images stay in one part, empty for images without
            one; None if there are no groups.
        hashes: (paths,) see `content.Contents`, 0 for unreadable files; None if not requested.
    """

    paths: list[str]
    labels: Labels
    groups: list[str] | None = None
    hashes: Hashes | None = None

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The images of a training.

    Attributes:
        root: the data root.
        base: the beginning of the images' paths that changes if the root is moved.
        classes: class names, in the order of the network's outputs.
        train, val, test: the parts; None if missing.
        remarks: notes for the user, one per line.
    """

    root: Path
    base: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    test: Split | None
    remarks: tuple[str, ...] = ()


def joined(one: Split, other: Split) -> Split:
    """Return the images of two splits, sorted by class."""
    labels = np.concatenate([one.labels, other.labels])
    order = np.arange(len(labels))
    if not are_multiple(labels):
        order = np.argsort(labels, kind="stable")
    paths, groups = one.paths + other.paths, None
    if one.groups is not None and other.groups is not None:
        both = one.groups + other.groups
        groups = [both[i] for i in order]
    return Split([paths[i] for i in order], labels[order], groups)


def subset(split: Split, chosen: NDArray[np.bool_]) -> Split:
    """Return the images for which `chosen`, (images,), is true."""
    where = np.flatnonzero(chosen)
    groups = None if split.groups is None else [split.groups[i] for i in where]
    hashes = None if split.hashes is None else split.hashes[chosen]
    return Split([split.paths[i] for i in where], split.labels[chosen], groups, hashes)
