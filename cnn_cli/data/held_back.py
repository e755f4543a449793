"""Divide the images of a training: parts held back for validation and testing, and folds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from cnn_cli.data.content import content_hashes
from cnn_cli.data.dataset import Dataset, Split, subset
from cnn_cli.data.folds import Fold, deal_folds
from cnn_cli.data.split import TEST, TRAIN, VAL, Rule, by_fractions, by_ranks, units_of
from cnn_cli.data.targets import class_counts, memberships
from cnn_cli.errors import DataError, listed

MOST_LISTED = 10  # classes named in a remark


def hold_back(
    dataset: Dataset,
    val_split: float,
    *,
    test_split: float = 0.0,
    group: str | None = None,
    rule: Rule = "ranks",
) -> Dataset:
    """Hold out parts of the training images for validation and testing.

    Existing parts are not changed. The choice depends on the content of the images, see
    `data.split`. A part is None if its share is 0, or if it gets none of a few images.

    Args:
        val_split, test_split: fractions of each class's images.
        group: a regular expression, searched in the images' paths below the root, with `/` as
            separator; what its first group matches is the name of the image's group. By default the
            data set's own groups are used.
        rule: the rule of the choice.

    Raises:
        DataError: `group` matches no path.
    """
    remarks = list(dataset.remarks)
    if group is not None:
        dataset, remark = _grouped(dataset, group)
        remarks += remark
    train, classes = dataset.train, len(dataset.classes)
    shares = {
        VAL: val_split if dataset.val is None else 0.0,
        TEST: test_split if dataset.test is None else 0.0,
    }
    parts = np.zeros(len(train), np.int8)
    if any(shares.values()):
        contents = content_hashes(train.paths, dataset.root)
        train = replace(train, hashes=contents.hashes)
        if rule == "fractions":
            parts = by_fractions(contents, train.labels, classes, shares[VAL])
        else:
            parts = by_ranks(
                contents, train.labels, classes, shares[VAL], shares[TEST], train.groups
            )
    found = {part: subset(train, parts == part) for part in shares if (parts == part).any()}
    dataset = replace(
        dataset,
        train=subset(train, parts == TRAIN) if found else train,
        val=found.get(VAL, dataset.val),
        test=found.get(TEST, dataset.test),
    )
    least = "three" if shares[TEST] else "two"  # testing takes its images first
    for part, purpose, needed in ((VAL, "validate", least), (TEST, "test", "two")):
        if shares[part]:
            remarks += _gave_none(dataset, found.get(part), purpose, needed, rule)
    return replace(dataset, remarks=(*remarks, *_on_two_sides(dataset)))


def _grouped(dataset: Dataset, pattern: str) -> tuple[Dataset, list[str]]:
    """Return the images with the groups that a pattern finds in their paths, and notes.

    Raises:
        DataError: it finds none.
    """
    search, base = re.compile(pattern).search, dataset.base
    parts: dict[str, Split] = {}
    others: list[str] = []
    for name in ("train", "val", "test"):
        part: Split | None = getattr(dataset, name)
        if part is None:
            continue
        groups = []
        for path in part.paths:
            below = path.removeprefix(base).lstrip(os.sep).replace(os.sep, "/")
            match = search(below)
            groups.append("" if match is None else match[1] or "")
            if not groups[-1]:
                others.append(below)
        parts[name] = replace(part, groups=groups)
    count = sum(map(len, parts.values()))
    if len(others) == count:
        rule = "must match the images' paths, or a part of them, below data.root"
        raise DataError("data.group", rule, f"none, as {others[0]}")
    remark = (
        f"data.group does not match the paths of {len(others):,} of {count:,} images, each of "
        f"which is a group of its own, as {others[0] if others else ''}"
    )
    held = replace(dataset, **parts)  # type: ignore[arg-type]  # of fields, which mypy does not know
    return held, [remark] if others else []


def _gave_none(
    dataset: Dataset, part: Split | None, purpose: str, needed: str, rule: Rule
) -> Iterator[str]:
    """Yield a note about classes that gave no image to a part, if there are any."""
    kind = "images" if dataset.train.groups is None else "images or groups"
    if part is None:
        why = f": no class has {needed} different {kind}" if rule == "ranks" else ""
        yield f"nothing is held back to {purpose} on{why}"
    elif rule == "ranks":
        counts = class_counts(part.labels, len(dataset.classes))
        none = [dataset.classes[label] for label in np.flatnonzero(counts == 0)]
        if none:
            classes = "1 class has" if len(none) == 1 else f"{len(none):,} classes have"
            yield (
                f"{classes} too few different {kind} to hold one back to {purpose} on: "
                f"{listed(none, MOST_LISTED)}"
            )


def _on_two_sides(dataset: Dataset) -> Iterator[str]:
    """Yield a note about groups with images in two given parts, if there are any."""
    groups = [
        set(part.groups or ()) - {""}
        for part in (dataset.train, dataset.val, dataset.test)
        if part is not None
    ]
    shared = sorted(set().union(*(a & b for a, b in combinations(groups, 2))))
    if shared:
        count = "1 group has" if len(shared) == 1 else f"{len(shared):,} groups have"
        yield f"{count} images in more than one part: {listed(shared, MOST_LISTED)}"


def take_fold(dataset: Dataset, fold: str) -> Dataset:
    """Take one fold for validation and the others for training.

    The folds divide the training images, see `data.folds`.

    Args:
        dataset: a data set without validation images.
        fold: such as `2/5`.

    Raises:
        ValueError: `fold` is invalid.
        DataError: all images of a class are in one fold, or there are more folds than images.
    """
    which = Fold.parse(fold)
    if which is None:
        raise ValueError(f"no fold: {fold!r}")
    contents = content_hashes(dataset.train.paths, dataset.root)
    whole, classes = replace(dataset.train, hashes=contents.hashes), len(dataset.classes)
    units = units_of(contents, whole.groups)
    folds = deal_folds(units, whole.labels, classes, which.count)
    images, numbers, every = memberships(whole.labels, classes)
    found = np.unique(folds[images] * every + numbers) % every
    for label in np.flatnonzero(np.bincount(found, minlength=every)[:classes] < 2):
        rule = f"the class '{dataset.classes[label]}' must have two different images, to train on "
        raise DataError(dataset.root, f"{rule}one while the other is validated on", "one")
    if len(np.unique(folds)) < which.count:
        rule = f"must hold {which.count} different images or more, one for each fold"
        raise DataError(dataset.root, rule, len(np.unique(folds)))
    held = folds == which.number - 1
    return replace(dataset, train=subset(whole, ~held), val=subset(whole, held))
