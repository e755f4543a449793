"""Find the images of a training or an evaluation, and their classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_cli.data.dataset import Dataset, Split, joined
from cnn_cli.data.held_back import hold_back, take_fold
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.listing import WHOLE, Listing, Part, one_form, shows_class
from cnn_cli.data.roots import open_listing
from cnn_cli.data.split import Rule
from cnn_cli.data.targets import Labels, class_counts, rows_of
from cnn_cli.errors import DataError, suggest

ONE_IMAGE = "must hold at least one image"


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
        dataset = replace(dataset, train=joined(train, val), val=None)
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
    together = Split(
        [path for part in found for path in part.paths],
        np.concatenate([part.labels for part in found]),
    )
    if not together:
        raise DataError(root if len(chosen) > 1 else parts[chosen[0]].place, ONE_IMAGE, "none")
    for remark in listing.remarks():
        note(remark)
    return together


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
            got = None if shows_class(place, name) else f"'{name}'"
            raise DataError(place, f"must be a class that {where} has.{hint}", got)
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
