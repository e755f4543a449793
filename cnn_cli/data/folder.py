"""Folders of images: which classes, splits and files a folder holds.

Names with a leading dot are passed over. Symbolic links are followed, and a folder is entered
once only, so that a loop of links ends. The order is that of the names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cnn_cli.errors import DataError, reason

EXTENSIONS = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".qoi",
        ".sgi",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LAYOUT = "must be a folder with a sub-folder of images for each class"

Unreadable = Callable[[DataError], object]
Other = Callable[[str], object]
Enter = Callable[[str], bool]


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its extension, in any case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def sub_folders(root: str | Path) -> dict[str, Path]:
    """Name and path of the visible folders in `root`, sorted by name.

    Raises:
        DataError: `root` is missing, no folder, or cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and _is_folder(e))
    except FileNotFoundError:
        raise DataError(root, LAYOUT, "no such folder") from None
    except NotADirectoryError:
        raise DataError(root, LAYOUT, "a file") from None
    except OSError as error:
        raise DataError(root, "cannot be read", reason(error)) from None
    return {name: Path(root, name) for name in names}


def find_splits(root: str | Path) -> dict[str, Path] | None:
    """The folders for `train`, `val` and `test`, or None where `root` holds classes.

    They are split folders only if no visible folder of another name is beside them.

    Raises:
        DataError: as in `sub_folders`, or two folders stand for `val`.
    """
    folders = sub_folders(root)
    if not folders or not folders.keys() <= SPLITS.keys():
        return None
    found: dict[str, Path] = {}
    for name, folder in folders.items():
        split = SPLITS[name]
        if split in found:
            both = f"both '{found[split].name}' and '{name}'"
            raise DataError(root, "must have one folder for validation", both)
        found[split] = folder
    return found


def walk_images(
    folder: str,
    on_unreadable: Unreadable | None = None,
    on_other: Other | None = None,
    on_folder: Enter | None = None,
) -> Iterator[str]:
    """Paths of the images in `folder` and its sub-folders, each joined to `folder` as given.

    A link to a file that is not there counts as an image, so that it is reported and not lost.

    Args:
        folder: where to look.
        on_unreadable: called with the error of a folder that cannot be read, which is then
            passed over.
        on_other: called with the path of a visible file without an image extension.
        on_folder: called with the path of each folder before it is read, and says whether it is.

    Raises:
        DataError: a folder cannot be read, and there is no `on_unreadable`.
    """
    return _walk(folder, set(), on_unreadable, on_other, on_folder)


def _walk(
    folder: str,
    visited: set[tuple[int, int]],
    on_unreadable: Unreadable | None,
    on_other: Other | None,
    on_folder: Enter | None,
) -> Iterator[str]:
    if on_folder is not None and not on_folder(folder):
        return
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scanned:
            entries = sorted(
                (e for e in scanned if not e.name.startswith(".")), key=lambda entry: entry.name
            )
    except OSError as error:
        problem = DataError(folder, "cannot be read", reason(error))
        if on_unreadable is None:
            raise problem from None
        on_unreadable(problem)
        return
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if _is_folder(entry):
            yield from _walk(path, visited, on_unreadable, on_other, on_folder)
        elif is_image_name(entry.name):
            if _is_file(entry) or not os.path.exists(path):
                yield path
        elif on_other is not None and _is_file(entry):
            on_other(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
