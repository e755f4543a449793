"""Choose the listing of a data root: a folder, a label list, an archive, or shards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cnn_cli.data.archive import SUFFIXES as ARCHIVES
from cnn_cli.data.archive import open_archive
from cnn_cli.data.archive_listing import ArchiveListing, ShardListing, expand_braces, is_sharded
from cnn_cli.data.folder import LAYOUT, FolderListing, scan
from cnn_cli.data.label_list import SEPARATOR, LabelList, has_label_text, has_several_labels
from cnn_cli.data.label_table import SUFFIXES as LISTS
from cnn_cli.data.label_table import ColumnsConfig, is_list
from cnn_cli.data.listing import Listing
from cnn_cli.errors import DataError

KINDS = "or a list (.csv, .tsv, .txt), an archive (.zip, .tar, .tar.gz) or shards (s-{00..12}.tar)"


def open_listing(
    root: Path,
    classes: Sequence[str] = (),
    columns: ColumnsConfig | None = None,
    separator: str | None = None,
) -> Listing:
    """List the content of a data root.

    Args:
        root: a folder, a label list, an archive, or a pattern of shards.
        classes: known class names, see `find_parts`.
        columns: the headers of a label list's columns.
        separator: separates the labels of an image in a label list; None if each image has one
            label.

    Raises:
        DataError: it is missing, unreadable or ambiguous.
    """
    if separator is not None and not is_list(root) and root.exists():
        rule = "must be a label list (.csv, .tsv, .txt) if data.labels is multiple"
        got = "a folder, which gives an image one label" if root.is_dir() else "another file"
        raise DataError(root, rule, got)
    if not root.is_dir():
        if is_list(root):
            return LabelList(root, classes, columns, separator)
        if columns is not None and columns != ColumnsConfig():
            rule = "must be a .csv or .tsv if data.columns names columns"
            raise DataError(root, rule, "another kind of file" if root.exists() else "no such file")
        shards = None if root.exists() else expand_braces(str(root))
        if shards is not None:
            return ShardListing(root, shards, classes)
        if root.name.lower().endswith(ARCHIVES):
            if is_sharded(open_archive(str(root))):
                return ShardListing(root, [str(root)], classes)
            return ArchiveListing(root, classes)
        if root.exists():
            raise DataError(root, f"{LAYOUT}, {KINDS}", "another file")
    elif columns is not None and columns != ColumnsConfig():
        rule = "must be a .csv or .tsv if data.columns names columns"
        raise DataError(root, rule, "a folder")
    return FolderListing(root, classes)


def separator_of(root: Path, labels: str | None) -> str | None:
    """Return what separates the labels of an image, for a data root without a config.

    Args:
        root: as in `open_listing`.
        labels: `single` or `multiple`; by default `multiple` if a list seems to have several.

    Returns:
        The separator; None if each image has one label.

    Raises:
        DataError: the list cannot be read.
    """
    if labels is None:
        return SEPARATOR if is_list(root) and root.is_file() and has_several_labels(root) else None
    return SEPARATOR if labels == "multiple" else None


def several_text(root: Path) -> str:
    """Return the note for a list that seems to have several labels per image."""
    other = "; --labels single takes each text as one class" if has_label_text(root) else ""
    return f"{root}: an image may have several labels{other}"


def training_classes(
    root: Path, columns: ColumnsConfig | None = None, separator: str | None = None
) -> list[str]:
    """Return the names of the classes to train; errors as in `open_listing`."""
    parts = open_listing(root, (), columns, separator).parts
    return list(parts["train" if "train" in parts else next(iter(parts))].classes)


def has_parts(
    root: Path,
    classes: Sequence[str] = (),
    columns: ColumnsConfig | None = None,
    separator: str | None = None,
) -> bool:
    """Whether a data root has parts to choose from; arguments and errors as in `open_listing`."""
    return open_listing(root, classes, columns, separator).has_parts()


def plain_name(root: Path) -> str:
    """Return the name of a data root without the extension of a list or archive, and without
    braces.
    """
    if root.is_dir():
        return root.name
    ends = "|".join(map(re.escape, (*LISTS, *ARCHIVES)))
    return re.sub(rf"({ends})$", "", re.sub(r"[-_. ]*\{[^{}]*\}", "", root.name), flags=re.I)


def is_there(root: Path) -> bool:
    """Whether the data root exists."""
    return _first(root).exists()


def _first(root: Path) -> Path:
    """Return the root itself, or the first shard."""
    shards = None if root.exists() else expand_braces(str(root))
    return root if shards is None else Path(shards[0])


def check_there(root: object) -> None:
    """Raise if the root has disappeared, possibly on this machine only.

    Raises:
        DataError: it cannot be read.
    """
    path = _first(Path(str(root)))
    if not path.is_file():
        scan(path)
