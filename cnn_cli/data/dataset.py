"""A data set as lists of paths and class numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.content import Hashes, content_hashes
from cnn_cli.data.folds import Fold, deal_folds
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.listing import WHOLE, Listing, Part, one_form
from cnn_cli.data.roots import open_listing
from cnn_cli.data.split import TEST, TRAIN, VAL, Rule, by_fractions, by_ranks, units_of
from cnn_cli.data.targets import Labels, are_multiple, class_counts, memberships, rows_of
from cnn_cli.errors import DataError, listed, suggest

ONE_IMAGE = "must hold at least one image"
MOST_LISTED = 10  # classes named in a remark


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images of one part of a data set, grouped by class if each image has one.

    Attributes:
        paths: the image files.
        labels: (paths,) class numbers, or (paths, classes) of 0 and 1, see `targets`.
        groups: (paths,) names of groups whose images stay in one part, empty for images without
            one; None if there are no groups.
        hashes: (paths,) see `Contents`, 0 for unreadable files; None if not requested.
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


def open_dataset(
    root: Path,
    classes: Sequence[str] | None,
    val_split: float,
    before: Sequence[str] = (),
    columns: ColumnsConfig | None = None,
    *,
    separator: str | None = None,
    test_split: float = 0.0,
    group: str | None = None,
    rule: Rule = "ranks",
    fold: str | None = None,
) -> Dataset:
    """Find the images of a training.

    If `val` or `test` has no folder, a share of the training images is held out, see `hold_back`.

    Args:
        root: class folders, parts with class folders, a label list, or an archive.
        classes: class names in the wanted order; other folders are left out. None takes all folders
            of `train`, sorted.
        before: the classes of a resumed run; folders with these names, in any Unicode form, are the
            same classes in the same order.
        columns: the headers of a label list's columns.
        separator: separates the labels of an image in a label list; None if each image has one
            label.
        val_split, test_split, group, rule: as in `hold_back`.
        fold: as in `take_fold`; chooses the validation images.

    Raises:
        DataError: `root` or a required folder is missing or contains no image, there are fewer than
            two classes, or a part has a class that `train` lacks.
    """
    known = before if classes is None else classes
    listing = open_listing(root, known, columns, separator)
    first = "train" if listing.has_parts() else WHOLE
    if first not in listing.parts:
        raise DataError(root, listing.part_rule.format(first), listing.part_names())
    part = listing.parts[first]
    found = _as_known(part, listing, known)
    if classes is None:
        names = tuple(before if found.keys() == set(before) else found)
    else:
        names = _listed(part, found, classes, listing)
    if len(names) < 2:
        raise DataError(part.place, "must hold at least two classes", f"one: '{names[0]}'")
    train = _list_images(listing, first, found, names)
    for label in np.flatnonzero(class_counts(train.labels, len(names)) == 0):
        raise DataError(part.classes[found[names[label]]], ONE_IMAGE, "none")
    held = {
        other: _list_held(listing, other, names, set(found))
        for other in listing.parts
        if other != first
    }
    val, test, remarks = held.get("val"), held.get("test"), listing.remarks()
    dataset = Dataset(Path(root), listing.base, names, train, val, test, remarks)
    if fold is None:
        return hold_back(dataset, val_split, test_split=test_split, group=group, rule=rule)
    if val is not None:
        dataset = replace(dataset, train=_joined(train, val), val=None)
    dataset = hold_back(dataset, 0.0, test_split=test_split, group=group, rule=rule)
    return take_fold(dataset, fold)


def open_labeled(
    root: Path,
    classes: Sequence[str],
    split: Literal["train", "val", "test", "all"],
    note: Callable[[str], object] = lambda _: None,
    columns: ColumnsConfig | None = None,
    separator: str | None = None,
) -> Split:
    """Find images to evaluate a model on, with classes matched by name.

    Args:
        root: class folders, which are used whole, parts with class folders, a label list, or an
            archive.
        classes: the model's class names, in its order.
        split: the part to use if there are parts.
        note: receives notes for the user.
        columns: the headers of a label list's columns.
        separator: as in `open_dataset`.

    Raises:
        DataError: `root` or the part is missing or contains no image, or has a class that the model
            does not know.
    """
    listing = open_listing(root, classes, columns, separator)
    parts = listing.parts
    if split == "all" or not listing.has_parts():
        chosen = list(parts)
    elif split in parts:
        chosen = [split]
    else:
        raise DataError(root, listing.part_rule.format(split), listing.part_names())
    found = [_list_classes(listing, part, classes, set(classes), "the model") for part in chosen]
    joined = Split(
        [path for part in found for path in part.paths],
        np.concatenate([part.labels for part in found]),
    )
    if not joined:
        raise DataError(root if len(chosen) > 1 else parts[chosen[0]].place, ONE_IMAGE, "none")
    for remark in listing.remarks():
        note(remark)
    return joined


def _as_known(part: Part, listing: Listing, known: Collection[str]) -> dict[str, str]:
    """Map the known class names to the names in a part.

    Names that differ only in their Unicode form are one class.

    Raises:
        DataError: two names are the same class, or there is no class.
    """
    if not part.classes and not listing.labeled:
        raise DataError(part.place, listing.layout, "no sub-folder")
    alike = {one_form(name): name for name in known}
    found: dict[str, str] = {}
    for name, place in part.classes.items():
        meant = name if name in known else alike.get(one_form(name), name)
        if meant in found or (meant != name and meant in part.classes):
            rule = listing.same_rule.format(meant)
            raise DataError(place, rule, "two, whose names differ in their Unicode form only")
        found[meant] = name
    return found


def _listed(
    part: Part, found: Mapping[str, str], classes: Sequence[str], listing: Listing
) -> tuple[str, ...]:
    for name in classes:
        if name not in found:
            raise DataError(part.place, f"{listing.class_rule.format(name)}.{suggest(name, found)}")
    return tuple(classes)


def _list_held(listing: Listing, part: str, names: Sequence[str], known: set[str]) -> Split:
    """List the images of `val` or `test`, without images of `known` classes that are not in
    `names`.
    """
    found = _list_classes(listing, part, names, known, "train")
    if not found:
        raise DataError(listing.parts[part].place, ONE_IMAGE, "none")
    return found


def _list_classes(
    listing: Listing, part: str, names: Sequence[str], known: set[str], where: str
) -> Split:
    found = _as_known(listing.parts[part], listing, known)
    for name, own in found.items():
        if name not in known:
            place = listing.parts[part].classes[own]
            hint = suggest(name, sorted(known))
            raise DataError(place, f"must be a class that {where} has.{hint}")
    return _list_images(listing, part, found, names)


def _list_images(
    listing: Listing, part: str, found: Mapping[str, str], names: Sequence[str]
) -> Split:
    """List the images of the classes, in the order of `names`; a missing class has none.

    With several labels per image, unknown labels are dropped and all images are kept.
    """
    if listing.labeled:
        images = listing.labeled.get(part, [])
        meant = {own: name for name, own in found.items()}
        of_images = [[meant.get(label, "") for label in labels] for _, labels in images]
        return _split_of(listing, [path for path, _ in images], rows_of(of_images, names))
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if name in found:
            paths += listing.images(part, found[name])
            labels += [label] * (len(paths) - len(labels))
    return _split_of(listing, paths, np.array(labels, np.int64))


def _split_of(listing: Listing, paths: list[str], labels: Labels) -> Split:
    known = listing.groups
    groups = None if known is None else [known.get(path, "") for path in paths]
    return Split(paths, labels, groups)


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
    found = {part: _part(train, parts == part) for part in shares if (parts == part).any()}
    dataset = replace(
        dataset,
        train=_part(train, parts == TRAIN) if found else train,
        val=found.get(VAL, dataset.val),
        test=found.get(TEST, dataset.test),
    )
    for part, purpose in ((VAL, "validate"), (TEST, "test")):
        if shares[part]:
            remarks += _gave_none(dataset, found.get(part), purpose, rule)
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


def _gave_none(dataset: Dataset, part: Split | None, purpose: str, rule: Rule) -> Iterator[str]:
    """Yield a note about classes that gave no image to a part, if there are any."""
    kind = "images" if dataset.train.groups is None else "images or groups"
    if part is None:
        why = f": no class has two different {kind}" if rule == "ranks" else ""
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
    return replace(dataset, train=_part(whole, ~held), val=_part(whole, held))


def _joined(one: Split, other: Split) -> Split:
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


def _part(split: Split, chosen: NDArray[np.bool_]) -> Split:
    where = np.flatnonzero(chosen)
    groups = None if split.groups is None else [split.groups[i] for i in where]
    hashes = None if split.hashes is None else split.hashes[chosen]
    return Split([split.paths[i] for i in where], split.labels[chosen], groups, hashes)
