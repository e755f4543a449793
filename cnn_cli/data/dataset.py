"""A folder of images as lists of paths and class numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnn_cli.data.folder import LAYOUT, find_splits, sub_folders, walk_images
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
        root: the folder it was found in.
        classes: names, in the order of the network's outputs.
        train, val, test: the parts; None where there is none.
    """

    root: Path
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    test: Split | None


def open_dataset(
    root: Path, classes: Sequence[str] | None, val_split: float, before: Sequence[str] = ()
) -> Dataset:
    """Find the images to train on.

    Without a `val` folder, `val_split` of the training images is held back by content hash; a
    class that would lose all its images keeps them. `val` is None where `val_split` is 0, or
    where it takes none of a few images.

    Args:
        root: class folders, or folders `train`, `val` and `test` that hold class folders.
        classes: names in the order wanted; folders of other names are left out. None takes all
            folders of `train`, sorted.
        val_split: the fraction to hold back, from 0 to 1.
        before: the classes of a run that goes on; folders of these names, in whatever Unicode form
            they are written now, are the same classes in the same order.

    Raises:
        DataError: `root` or a folder that must be there is missing or holds no image, there are
            fewer than two classes, or a part has a class that `train` does not.
    """
    parts = find_splits(root)
    if parts is None:
        parts = {"train": Path(root)}
    if "train" not in parts:
        raise DataError(
            root, "must have a 'train' folder", ", ".join(f.name for f in parts.values())
        )
    folders = _class_folders(parts["train"])
    folders = _as_known(folders, before if classes is None else classes)
    if classes is None:
        names = tuple(before if folders.keys() == set(before) else folders)
    else:
        names = _listed(parts["train"], folders, classes)
    if len(names) < 2:
        raise DataError(parts["train"], "must hold at least two classes", f"one: '{names[0]}'")
    train = _list_images(folders, names)
    for label, name in enumerate(names):
        if not (train.labels == label).any():
            raise DataError(folders[name], ONE_IMAGE, "none")
    held: dict[str, Split] = {}
    for part, folder in parts.items():
        if part != "train":
            held[part] = _list_held(folder, names, set(folders))
    val = held.get("val")
    if "val" not in parts:
        train, val = _hold_back(train, len(names), val_split)
    return Dataset(Path(root), names, train, val, held.get("test"))


def open_labelled(
    root: Path, classes: Sequence[str], split: Literal["train", "val", "test", "all"]
) -> Split:
    """Find images to evaluate a model on, with classes matched by name.

    Args:
        root: class folders, which are taken whole, or folders `train`, `val` and `test`.
        classes: the names the model knows, in its order.
        split: the part to take where there are split folders.

    Raises:
        DataError: `root` or the part is missing or holds no image, or has a class that the model
            does not know.
    """
    parts = find_splits(root)
    if parts is None:
        chosen = [Path(root)]
    elif split == "all":
        chosen = list(parts.values())
    elif split in parts:
        chosen = [parts[split]]
    else:
        raise DataError(
            root, f"must have a '{split}' folder", ", ".join(f.name for f in parts.values())
        )
    found = [_list_classes(folder, classes, set(classes), "the model") for folder in chosen]
    joined = Split(
        [path for part in found for path in part.paths],
        np.concatenate([part.labels for part in found]),
    )
    if not joined:
        raise DataError(root if len(chosen) > 1 else chosen[0], ONE_IMAGE, "none")
    return joined


def _class_folders(folder: Path) -> dict[str, Path]:
    folders = sub_folders(folder)
    if not folders:
        raise DataError(folder, LAYOUT, "no sub-folder")
    return folders


def _as_known(folders: dict[str, Path], known: Collection[str]) -> dict[str, Path]:
    """The folders under the names that are known of them.

    An accent can be written in several ways in Unicode; macOS and archives change one to another
    (NFC and NFD). Names that differ in that only are one class.

    Raises:
        DataError: two folders are the same class so.
    """
    alike = {unicodedata.normalize("NFC", name): name for name in known}
    found: dict[str, Path] = {}
    for name, folder in folders.items():
        meant = name if name in known else alike.get(unicodedata.normalize("NFC", name), name)
        if meant in found or (meant != name and meant in folders):
            rule = f"must be one folder for the class '{meant}'"
            raise DataError(folder, rule, "two, whose names differ in their Unicode form only")
        found[meant] = folder
    return found


def _listed(folder: Path, folders: dict[str, Path], classes: Sequence[str]) -> tuple[str, ...]:
    for name in classes:
        if name not in folders:
            hint = suggest(name, folders)
            raise DataError(folder, f"must have a folder for the class '{name}'.{hint}")
    return tuple(classes)


def _list_held(folder: Path, names: Sequence[str], known: set[str]) -> Split:
    """Images of `val` or `test`, without those of `known` classes that are not among `names`."""
    found = _list_classes(folder, names, known, "train")
    if not found:
        raise DataError(folder, ONE_IMAGE, "none")
    return found


def _list_classes(folder: Path, names: Sequence[str], known: set[str], where: str) -> Split:
    folders = _as_known(_class_folders(folder), known)
    for name, place in folders.items():
        if name not in known:
            hint = suggest(name, sorted(known))
            raise DataError(place, f"must be a class that {where} has.{hint}")
    return _list_images(folders, names)


def _list_images(folders: dict[str, Path], names: Sequence[str]) -> Split:
    """Images of the classes in the order of `names`; one without a folder has none."""
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if name in folders:
            paths += walk_images(str(folders[name]))
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
