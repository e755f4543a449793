"""The content of a data root: parts, classes and images, before classes get numbers.

A root is a folder, a label list or an archive; `data.roots.open_listing` creates the matching
`Listing`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cnn_cli.errors import DataError, listed
from cnn_cli.structs import Struct

WHOLE = "all"  # the part of a root without parts
PARTS = {
    name: part
    for part, names in {
        "train": "train training",
        "val": "val valid validation dev",
        "test": "test testing eval evaluation",
    }.items()
    for name in names.split()
}
HEIF = frozenset([".heic", ".heif", ".hif"])  # needs the extra `heic`

Unreadable = Callable[[DataError], object]
Other = Callable[[str], object]
Enter = Callable[[str], bool]


class Part(Struct):
    """The classes of one part.

    Attributes:
        name: the part's name in the root.
        place: its place, for messages.
        classes: class names, sorted, with the place of each, for messages.
    """

    name: str
    place: str
    classes: Mapping[str, str]


def shows_class(place: str, name: str) -> bool:
    """Whether the place of a class ends in its name, as that of a folder does and the line of a
    list does not.
    """
    return os.path.basename(place) == name


class Listing(ABC):
    """The content of one data root.

    Attributes:
        root: the root as given.
        base: the beginning of the images' paths that changes if the root is moved.
        parts: by `train`, `val` and `test`, or only `WHOLE`.
        groups: groups of images that must stay in one part, by path; None if unknown.
        notes: notes for the user on how the root was read.
        left_out: number of files that are not images, by extension. In class folders they are
            counted while images are listed.
        outside: images beside the class folders.
        labeled: paths and labels of each part's images, if images may have several labels.
    """

    layout = "must have a class for each image"
    part_rule = "must have the part '{}'"
    class_rule = "must have the class '{}'"
    same_rule = "must write the class '{}' in one way"

    def __init__(self, root: Path, base: str) -> None:
        self.root = root
        self.base = base
        self.parts: dict[str, Part] = {}
        self.groups: Mapping[str, str] | None = None
        self.notes: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.outside: list[str] = []
        self.labeled: dict[str, list[tuple[str, tuple[str, ...]]]] = {}

    @abstractmethod
    def images(
        self,
        part: str,
        name: str,
        on_unreadable: Unreadable | None = None,
        on_other: Other | None = None,
    ) -> Iterator[str]:
        """Yield the paths of a class's images, in order.

        Args:
            part: one of `parts`.
            name: one of its classes.
            on_unreadable: called with the error of an unreadable folder, which is then skipped;
                without it the error is raised.
            on_other: called with the path of each file that is not an image.
        """

    def has_parts(self) -> bool:
        return WHOLE not in self.parts

    def part_names(self) -> str:
        """The names of the parts as they appear in the root."""
        return ", ".join(part.name for part in self.parts.values())

    def remarks(self) -> tuple[str, ...]:
        """Notes for the user, one per line, including the files left out."""
        lines = [*self.notes]
        if self.left_out:
            lines.append(left_out_text(self.left_out))
        if self.outside:
            count = len(self.outside)
            what = "an image" if count == 1 else f"{count:,} images"
            lines.append(f"{what} beside the class folders left out")
        return tuple(lines)


class ListedImages(Listing):
    """A listing that knows all images from the start: of a label list or an archive.

    Args:
        root, base: as in `Listing`.
    """

    def __init__(self, root: Path, base: str) -> None:
        super().__init__(root, base)
        self._images: dict[tuple[str, str], list[str]] = {}
        self._places: dict[str, dict[str, str]] = {}

    def add_class(self, part: str, name: str, place: str) -> None:
        """Add a class, possibly without images; `place` is its place for messages."""
        self._places.setdefault(part, {}).setdefault(name, place)
        self._images.setdefault((part, name), [])

    def add(self, part: str, name: str, path: str, place: str) -> None:
        """Add an image; `place` is where it is listed, for messages."""
        self.add_class(part, name, place)
        self._images[part, name].append(path)

    def add_labeled(self, part: str, labels: Sequence[str], path: str, place: str) -> None:
        """Add an image with any number of labels."""
        for name in labels:
            self.add_class(part, name, place)
        self.labeled.setdefault(part, []).append((path, tuple(labels)))

    def finish(self, places: Mapping[str, tuple[str, str]]) -> None:
        """Sort the classes, numeric ones by value, once all images are known.

        Args:
            places: name and place of each part, see `Part`.
        """
        for part, (name, place) in places.items():
            classes = self._places.get(part, {})
            self.parts[part] = Part(name, place, {each: classes[each] for each in ordered(classes)})

    def name_numbers(self, classes: Sequence[str]) -> None:
        """If labels are numbers but `classes` are names, use them as indices into it, from 0.

        Raises:
            DataError: `classes` has no such place.
        """
        places = {name: at for part in self.parts.values() for name, at in part.classes.items()}
        if not places or not places.keys().isdisjoint(classes):
            return
        if not all(map(_is_number, places)) or all(map(_is_number, classes)):
            return
        for label, place in places.items():
            if not 0 <= int(label) < len(classes):
                rule = f"must be one of the classes, or its place in them, 0 to {len(classes) - 1}"
                raise DataError(place, rule, label)
        for part, each in self.parts.items():
            for label in each.classes:
                paths = self._images.pop((part, label))
                self._images.setdefault((part, classes[int(label)]), []).extend(paths)
            named = {classes[int(label)]: place for label, place in each.classes.items()}
            self.parts[part] = Part(each.name, each.place, named)
        few = [f"{number} is {name}" for number, name in enumerate(classes)]
        self.notes.append(f"{self.root}: labels are places in the classes: {listed(few)}")

    def images(
        self,
        part: str,
        name: str,
        on_unreadable: Unreadable | None = None,
        on_other: Other | None = None,
    ) -> Iterator[str]:
        yield from self._images[part, name]


def ordered(names: Iterable[str]) -> list[str]:
    """Sort class names: by value if all are numbers, else as text."""
    listing = sorted(names)
    if all(map(_is_number, listing)):
        listing.sort(key=int)
    return listing


def _is_number(name: str) -> bool:
    return re.fullmatch("-?[0-9]{1,18}", name) is not None


def left_out_text(counts: Counter[str]) -> str:
    """Return `12 .heic left out: install the extra heic; 3 .txt left out`."""
    named = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    known = [f"{n:,} {what}" for what, n in named if what in HEIF]
    other = [f"{n:,} {what}" for what, n in named if what not in HEIF]
    clauses = [f"{listed(known, last=' and ')} left out: install the extra heic"] * bool(known)
    clauses += [f"{listed(other, last=' and ')} left out"] * bool(other)
    return "; ".join(clauses)


def frames_text(paths: Collection[str]) -> str:
    """Return `2 files with several frames, as a.gif: the first of each is taken`."""
    count = len(paths)
    if count == 1:
        return f"{min(paths)}: the first of several frames is taken"
    return f"{count:,} files with several frames, as {min(paths)}: the first of each is taken"


_ENDING = re.compile(r".(\.\w{1,12})")


def ending(path: str) -> str:
    """Return the extension by which a file is counted, or words if it has none."""
    name = path.replace("\\", "/").rpartition("/")[2]
    match = _ENDING.fullmatch(name[max(name.rfind(".") - 1, 0) :])
    return match[1].lower() if match else "without an extension"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is ignored; macOS adds hidden files to its archives."""
    return name.startswith(".") or name == "__MACOSX"


def part_of(name: str) -> str | None:
    """Return the part with that name, in any case."""
    return PARTS.get(name.lower())


def one_form(name: str) -> str:
    """Normalize a name to one Unicode form: names that differ only in it are one class.

    Accents can be encoded in several ways, and macOS and archives convert between them.
    """
    return unicodedata.normalize("NFC", name)


def find_parts(
    root: object, folders: Iterable[str], classes: Collection[str]
) -> dict[str, str] | None:
    """Return the folders of `train`, `val` and `test`; None if the folders are classes.

    Args:
        root: for messages.
        folders: names of all folders in it.
        classes: known class names, possibly none. If they are among the folders, or the folders
            among them, the folders are classes whatever their names.

    Raises:
        DataError: some folders look like parts and others do not, or two stand for one part.
    """
    names = list(folders)
    known = {name: part for name in names if (part := part_of(name))}
    told = {one_form(name) for name in classes}
    here = {one_form(name) for name in names}
    if told and here and (told <= here or here <= told):
        return None
    if known and len(known) == len(names):
        found: dict[str, str] = {}
        for name, part in known.items():
            if part in found:
                both = f"both '{found[part]}' and '{name}'"
                words = {"train": "to train on", "val": "for validation", "test": "to test on"}
                raise DataError(root, f"must have one folder {words[part]}", both)
            found[part] = name
        return found
    alike = {part for name in names for part in [_looks_like(name)]}
    if known or (len(alike) > 1 and None not in alike):
        got = f"{listed(names, last=' and ')}, which look like parts"
        if known:
            rest = [name for name in names if name not in known]
            got = f"{listed(list(known), last=' and ')} beside {listed(rest, last=' and ')}"
        rule = (
            "must hold either parts, named train, val and test, or a folder for each class; "
            "data.classes with all their names makes them classes"
        )
        raise DataError(root, rule, got)
    return None


def check_no_parts_within(root: object, name: str, inside: Iterable[str]) -> None:
    """Refuse a class folder whose subfolders are parts.

    Args:
        root: for messages.
        name: name of the class.
        inside: names of its subfolders.

    Raises:
        DataError: two or more are named like parts.
    """
    found = [each for each in inside if part_of(each)]
    if len({part_of(each) for each in found}) > 1:
        rule = (
            "must have the parts above the classes, as train/cat and val/cat; "
            "data.classes with the classes' names takes each class whole"
        )
        raise DataError(root, rule, f"{listed(found, last=' and ')} in {name}")


def _looks_like(name: str) -> str | None:
    """Return the part that a name probably means, such as training_set or val2017."""
    words = re.findall("[a-z]+", name.lower())
    return next((PARTS[word] for word in words if word in PARTS), None)
