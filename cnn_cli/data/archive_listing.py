"""Archives as data roots: class folders in a zip or tar archive, and WebDataset shards."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from cnn_cli.data.archive import Archive, in_order, open_archive
from cnn_cli.data.folder import is_image_name
from cnn_cli.data.label_table import SPELLINGS
from cnn_cli.data.listing import (
    WHOLE,
    ListedImages,
    Other,
    Unreadable,
    check_no_parts_within,
    ending,
    find_parts,
    part_of,
)
from cnn_cli.errors import DataError, reason

MOST_SHARDS = 100_000
MOST_LABEL = 2**20  # bytes
LABEL_KEYS = ("cls", *SPELLINGS["label"])
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


class ArchiveListing(ListedImages):
    """Class folders, or parts with class folders, in an archive.

    A single top-level folder around everything, as is usual in archives, is ignored.

    Args:
        root: the archive.
        classes: known class names, see `find_parts`.

    Raises:
        DataError: it cannot be read, contains something forbidden, or mixes parts and classes.
    """

    layout = "must hold a folder of images for each class"
    part_rule = "must have a '{}' folder"
    class_rule = "must have a folder for the class '{}'"
    same_rule = "must be one folder for the class '{}'"

    def __init__(self, root: Path, classes: Sequence[str] = ()) -> None:
        super().__init__(root, str(root))
        names = [name.split("/") for name in in_order(open_archive(str(root)).members)]
        depth = _wrapping(names, classes)
        self._others: dict[tuple[str, str], list[str]] = {}
        above = "/".join([str(root), *names[0][:depth]]) if names else str(root)
        folders = dict.fromkeys(name[depth] for name in names if len(name) > depth + 1)
        parts = find_parts(root, folders, classes)
        place_of = {"": (WHOLE, root.name, above)}
        if parts is not None:
            place_of = {own: (part, own, f"{above}/{own}") for part, own in parts.items()}
        self._sort(names, depth, place_of, told=bool(classes))
        self.finish({part: (own, place) for part, own, place in place_of.values()})

    def _sort(
        self,
        names: Sequence[Sequence[str]],
        depth: int,
        place_of: dict[str, tuple[str, str, str]],
        *,
        told: bool,
    ) -> None:
        """Assign each file to its class.

        Args:
            names: the files' names, split at `/`, folder by folder.
            depth: number of folders above parts or classes.
            place_of: part, class name and place for each folder.
            told: whether the classes are known.
        """
        inside: dict[tuple[str, str], dict[str, None]] = {}
        for name in names:
            path = "/".join([str(self.root), *name])
            image = is_image_name(name[-1])
            rest = name[depth:]
            part, _, place = place_of.get("", place_of.get(rest[0], ("", "", "")))
            if "" not in place_of:
                rest = rest[1:]
            if not part or len(rest) < 2:
                if image:
                    self.outside.append(path)
                continue
            key = part, rest[0]
            if image:
                self.add(*key, path, f"{place}/{rest[0]}")
            else:
                self.add_class(*key, f"{place}/{rest[0]}")
                self.left_out[ending(path)] += 1
                self._others.setdefault(key, []).append(path)
            if len(rest) > 2:
                inside.setdefault(key, {})[rest[1]] = None
        for (_, name), below in inside.items():
            if not told:
                check_no_parts_within(self.root, name, below)

    def images(
        self,
        part: str,
        name: str,
        on_unreadable: Unreadable | None = None,
        on_other: Other | None = None,
    ) -> Iterator[str]:
        if on_other is not None:
            for path in self._others.get((part, name), ()):
                on_other(path)
        yield from super().images(part, name)


def _wrapping(names: Sequence[Sequence[str]], classes: Sequence[str]) -> int:
    """Return the number of folders around all files that are neither part, class nor image
    folder.
    """
    for depth in itertools.count():
        tops = {name[depth] for name in names if len(name) > depth + 1}
        if len(tops) != 1 or any(len(name) == depth + 1 for name in names):
            return depth
        (top,) = tops
        below = [name for name in names if len(name) > depth + 2]
        if not below or part_of(top) or top in classes:
            return depth
        if any(len(name) == depth + 2 and is_image_name(name[-1]) for name in names):
            return depth
    raise AssertionError("count() does not end")


class ShardListing(ListedImages):
    """WebDataset shards: tar archives in which each image is followed by its label.

    The files of a sample share their name up to the first dot: ``0001.jpg`` with ``0001.cls``,
    which contains a number or a name, or with ``0001.json``, an object with one of `LABEL_KEYS`.

    Args:
        root: the pattern, or the only shard.
        shards: paths of the archives.
        classes: known class names, for numeric labels.

    Raises:
        DataError: an archive cannot be read or contains something forbidden, or a sample is
            incomplete.
    """

    layout = "must hold samples: images with a .cls or .json beside them"
    class_rule = "must have a sample of the class '{}'"

    def __init__(self, root: Path, shards: Sequence[str], classes: Sequence[str] = ()) -> None:
        folder = os.path.dirname(root)
        super().__init__(root, folder)
        for shard in shards:
            self._take(open_archive(shard))
        if not self._images:
            raise DataError(root, self.layout, "none")
        self.finish({WHOLE: (root.name, str(root))})
        self.name_numbers(classes)

    def _take(self, archive: Archive) -> None:
        """Add the samples of a shard."""
        samples: dict[str, dict[str, str]] = {}
        for name in archive.members:
            folder, _, base = name.rpartition("/")
            key, _, kind = base.partition(".")
            files = samples.setdefault(f"{folder}/{key}", {})
            other = files.setdefault(kind.lower(), name)
            if other != name:
                rule = "must be the only file of its kind in its sample"
                raise DataError(f"{archive.path}/{other}", rule, f"'{name}' too")
        with ExitStack() as stack:
            file = stack.enter_context(archive.opened())
            for files in samples.values():
                images = [kind for kind in files if "." not in kind and is_image_name(f"x.{kind}")]
                labels = [kind for kind in ("cls", "json") if kind in files] if images else []
                for kind, name in files.items():
                    if kind not in (*images, *labels):
                        self.left_out[ending(name)] += 1
                if not images:
                    continue
                path = f"{archive.path}/{files[images[0]]}"
                if len(images) > 1:
                    other = files[images[1]]
                    raise DataError(path, "must be the only image of its sample", f"'{other}' too")
                if not labels:
                    raise DataError(path, "must have a .cls or .json beside it", "neither")
                name = files[labels[0]]
                place = f"{archive.path}/{name}"
                if archive.members[name].size > MOST_LABEL:
                    raise DataError(place, f"must have at most {MOST_LABEL:,} bytes")
                try:
                    content = archive.read(name, file)
                except OSError as error:
                    raise DataError(place, "cannot be read", reason(error)) from None
                label = _label(content, labels[0], place)
                self.add(WHOLE, label, path, place)


def _label(content: bytes, kind: str, place: str) -> str:
    """Return the label in a sample's label file."""
    try:
        text = content.decode("utf-8-sig").strip()
        found = json.loads(text) if kind == "json" else text
    except (ValueError, RecursionError):
        rule = "must be JSON" if kind == "json" else "must be UTF-8 text"
        raise DataError(place, rule) from None
    if kind == "json":
        values = found if isinstance(found, dict) else {}
        found = next((values[key] for key in LABEL_KEYS if key in values), None)
        if isinstance(found, bool) or not isinstance(found, str | int):
            rule = f"must be an object with {', '.join(LABEL_KEYS)}: a name or a number"
            raise DataError(place, rule)
    label = str(found).strip()
    if not label or "\n" in label:
        raise DataError(place, "must be one label", "nothing" if not label else "several lines")
    return label


def is_sharded(archive: Archive) -> bool:
    """Whether an archive is a WebDataset shard: an image has a label file beside it."""
    return any(
        name.lower().endswith((".cls", ".json")) and "/" not in name for name in archive.members
    ) and any("/" not in name and is_image_name(name) for name in archive.members)


def expand_braces(pattern: str) -> list[str] | None:
    """Expand ``shards-{000..012}.tar`` and ``{train,more}.tar``; None if there are no braces.

    Raises:
        DataError: there are too many paths, or a range counts down.
    """
    found = list(_BRACES.finditer(pattern))
    if not found:
        return None
    choices: list[Sequence[str]] = []
    total = 1
    for match in found:
        first, last, words = match.groups()
        if words is not None:
            choices.append(words.split(","))
        else:
            count = int(last[:12]) - int(first[:12]) + 1
            if count < 1:
                raise DataError(pattern, "must count up in its braces", match[0])
            if count <= MOST_SHARDS:
                width = len(first) if first.startswith("0") or len(first) == len(last) else 0
                choices.append([f"{int(first) + i:0{width}}" for i in range(count)])
            total *= count
        if words is not None:
            total *= len(choices[-1])
        if total > MOST_SHARDS:
            raise DataError(pattern, f"must expand to at most {MOST_SHARDS:,} archives", total)
    pieces: list[Sequence[str]] = []
    start = 0
    for match in found:
        pieces.append([pattern[start : match.start()]])
        pieces.append(choices.pop(0))
        start = match.end()
    return ["".join(each) for each in itertools.product(*pieces, [pattern[start:]])]
