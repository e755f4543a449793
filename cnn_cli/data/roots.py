"""Which kind of listing a data root is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cnn_cli.data.folder import FolderListing, scan
from cnn_cli.data.listing import Listing


def open_listing(root: Path, classes: Collection[str] = ()) -> Listing:
    """What a data root holds.

    Args:
        root: a folder.
        classes: names that are known to be classes, see `find_parts`.

    Raises:
        DataError: it is missing or cannot be read, or it is not clear what is meant.
    """
    return FolderListing(root, classes)


def training_classes(root: Path) -> list[str]:
    """Names of the classes that there are to train on; errors as in `open_listing`."""
    parts = open_listing(root).parts
    return list(parts["train" if "train" in parts else next(iter(parts))].classes)


def has_parts(root: Path, classes: Collection[str]) -> bool:
    """Whether a data root has parts to choose from; arguments and errors as in `open_listing`."""
    return open_listing(root, classes).has_parts()


def is_there(root: Path) -> bool:
    """Whether there is something to list."""
    return root.is_dir()


def check_there(root: object) -> None:
    """Refuse to go on where the root itself is gone: on this machine, and maybe on it alone.

    Raises:
        DataError: it cannot be read.
    """
    scan(str(root))
