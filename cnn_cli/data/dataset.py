"""A folder of images as lists of paths and class numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.label_list import ColumnsConfig
from cnn_cli.data.listing import WHOLE, Listing, Part, one_form
from cnn_cli.data.roots import open_listing
from cnn_cli.data.split import held_back
from cnn_cli.errors import DataError, suggest

ONE_IMAGE = "must hold at least one image"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images of one part of a data set, grouped by class.

    Attributes:
        paths: of the files.
        labels: (paths,) position of each image's class in the list of classes.
    """

    paths: list[str]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What there is to train on.

    Attributes:
        root: where it was found.
        base: what the images' paths begin with where the root is moved with them.
        classes: names, in the order of the network's outputs.
        train, val, test: the parts; None where there is none.
        remarks: what the user should know, a line each.
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
) -> Dataset:
    """Find the images to train on.

    Without a `val` folder, `val_split` of the training images is held back by content hash; a
    class that would lose all its images keeps them. `val` is None where `val_split` is 0, or
    where it takes none of a few images.

    Args:
        root: of class folders, or parts that hold them, a label list, or an archive.
        classes: names in the order wanted; folders of other names are left out. None takes all
            folders of `train`, sorted.
        val_split: the fraction to hold back, from 0 to 1.
        before: the classes of a run that goes on; folders of these names, in whatever Unicode form
            they are written now, are the same classes in the same order.
        columns: how a label list's columns are headed.

    Raises:
        DataError: `root` or a folder that must be there is missing or holds no image, there are
            fewer than two classes, or a part has a class that `train` does not.
    """
    known = before if classes is None else classes
    listing = open_listing(root, known, columns)
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
    for label, name in enumerate(names):
        if not (train.labels == label).any():
            raise DataError(part.classes[found[name]], ONE_IMAGE, "none")
    held = {
        other: _list_held(listing, other, names, set(found))
        for other in listing.parts
        if other != first
    }
    val = held.get("val")
    if val is None:
        train, val = _hold_back(train, len(names), val_split)
    remarks = listing.remarks()
    return Dataset(Path(root), listing.base, names, train, val, held.get("test"), remarks)


def open_labelled(
    root: Path,
    classes: Sequence[str],
    split: Literal["train", "val", "test", "all"],
    note: Callable[[str], object] = lambda _: None,
    columns: ColumnsConfig | None = None,
) -> Split:
    """Find images to evaluate a model on, with classes matched by name.

    Args:
        root: class folders, which are taken whole, or folders of parts, a label list, an archive.
        classes: the names the model knows, in its order.
        split: the part to take where there are parts.
        note: told what the user should know of what was found.
        columns: how a label list's columns are headed.

    Raises:
        DataError: `root` or the part is missing or holds no image, or has a class that the model
            does not know.
    """
    listing = open_listing(root, classes, columns)
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
    """The names in a part, under the names that are known of them.

    Names that differ in their Unicode form only are one class.

    Raises:
        DataError: two are the same class so; or there is none.
    """
    if not part.classes:
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
    """Images of `val` or `test`, without those of `known` classes that are not among `names`."""
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
    """Images of the classes in the order of `names`; one that is not there has none."""
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if name in found:
            paths += listing.images(part, found[name])
            labels += [label] * (len(paths) - len(labels))
    return Split(paths, np.array(labels, np.int64))


def _hold_back(split: Split, classes: int, val_split: float) -> tuple[Split, Split | None]:
    held = held_back(split.paths, val_split)
    for label in range(classes):
        ours = split.labels == label
        if held[ours].all():
            held[ours] = False
    if not held.any():
        return split, None
    return _part(split, ~held), _part(split, held)


def _part(split: Split, chosen: NDArray[np.bool_]) -> Split:
    return Split([split.paths[i] for i in np.flatnonzero(chosen)], split.labels[chosen])
