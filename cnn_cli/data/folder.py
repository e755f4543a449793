"""Folders of images: their classes, parts and files.

Names with a leading dot are ignored. Symbolic links are followed; each folder is entered once, so
loops of links end. Everything is sorted by name.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from cnn_cli.data.formats import has_heif
from cnn_cli.data.listing import (
    HEIF,
    WHOLE,
    Enter,
    Listing,
    Other,
    Part,
    Unreadable,
    check_no_parts_within,
    ending,
    find_parts,
    is_hidden,
)
from cnn_cli.errors import DataError, reason

# The extensions that Pillow registers for `formats.FORMATS`, which a test checks. Asking Pillow
# would import all of its plugins, which takes longer than listing a folder.
EXTENSIONS = frozenset(
    [
        *(".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib"),
        *(".fit", ".fits", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".gif", ".icb", ".icns"),
        *(".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf"),
        *(".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga"),
        *(".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm"),
    ]
)
ARRAY_EXTENSION = ".npy"
"""Extensions of images in class folders; elsewhere a `.npy` file may be anything."""
LAYOUT = "must be a folder with a sub-folder of images for each class"


def is_image_name(name: str, arrays: bool = True) -> bool:
    """Whether a file is an image, by its extension in any case.

    Args:
        arrays: `.npy` files count as images.
    """
    extension = os.path.splitext(name)[1].lower()
    if extension == ARRAY_EXTENSION:
        return arrays
    return extension in EXTENSIONS or (extension in HEIF and has_heif())


class FolderListing(Listing):
    """A folder of class folders, or of parts with class folders. Images are listed on demand.

    Args:
        root: the folder.
        classes: known class names, see `find_parts`.

    Raises:
        DataError: it is missing, is not a folder, cannot be read, or mixes parts and classes.
    """

    layout = LAYOUT
    part_rule = "must have a '{}' folder"
    class_rule = "must have a folder for the class '{}'"
    same_rule = "must be one folder for the class '{}'"

    def __init__(self, root: Path, classes: Collection[str] = ()) -> None:
        super().__init__(root, str(root))
        folders = self._scan(root)
        parts = find_parts(root, folders, classes)
        if parts is None:
            self.parts = {WHOLE: Part(root.name, str(root), folders)}
        else:
            for part, name in parts.items():
                place = folders[name]
                self.parts[part] = Part(name, place, self._scan(place))
        self._told = bool(classes)

    def _scan(self, folder: str | Path) -> dict[str, str]:
        """Return the subfolders of a folder; images beside them are added to `outside`."""
        folders, images = scan(folder)
        self.outside += images
        return folders

    def images(
        self,
        part: str,
        name: str,
        on_unreadable: Unreadable | None = None,
        on_other: Other | None = None,
    ) -> Iterator[str]:
        folder = self.parts[part].classes[name]
        inside: list[str] = []

        def enter(path: str) -> bool:
            if os.path.dirname(path) == folder:
                inside.append(os.path.basename(path))
            return True

        def other(path: str) -> None:
            self.left_out[ending(path)] += 1
            if on_other is not None:
                on_other(path)

        yield from walk_images(folder, on_unreadable, other, enter)
        if inside and not self._told:
            check_no_parts_within(self.root, name, inside)


def scan(root: str | Path) -> tuple[dict[str, str], list[str]]:
    """Return name and path of the visible subfolders of `root`, sorted by name, and its images.

    Raises:
        DataError: `root` is missing, is not a folder, or cannot be read.
    """
    folders, images = [], []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif is_image_name(entry.name) and _is_file(entry):
                    images.append(entry.name)
    except FileNotFoundError:
        raise DataError(root, LAYOUT, "no such folder") from None
    except NotADirectoryError:
        raise DataError(root, LAYOUT, "a file") from None
    except OSError as error:
        raise DataError(root, "cannot be read", reason(error)) from None
    # `os.path.join` would keep "./photos"; messages show the plain name.
    paths = {name: str(Path(root, name)) for name in sorted(folders)}
    return paths, [os.path.join(root, name) for name in sorted(images)]


def walk_images(
    folder: str,
    on_unreadable: Unreadable | None = None,
    on_other: Other | None = None,
    on_folder: Enter | None = None,
    *,
    arrays: bool = True,
) -> Iterator[str]:
    """Yield the paths of the images in `folder` and its subfolders, each joined to `folder` as
    given.

    A dangling link counts as an image, so that it is reported instead of ignored.

    Args:
        folder: where to look.
        on_unreadable: called with the error of an unreadable folder, which is then skipped.
        on_other: called with the path of each visible file without an image extension.
        on_folder: called with the path of each folder before it is read; returns whether to read
            it.
        arrays: `.npy` files count as images.

    Raises:
        DataError: a folder cannot be read, and there is no `on_unreadable`.
    """
    return _walk(folder, set(), on_unreadable, on_other, on_folder, arrays)


def _walk(
    folder: str,
    visited: set[tuple[int, int]],
    on_unreadable: Unreadable | None,
    on_other: Other | None,
    on_folder: Enter | None,
    arrays: bool,
) -> Iterator[str]:
    if on_folder is not None and not on_folder(folder):
        return
    try:
        entries = _entries(folder, visited)
    except OSError as error:
        problem = DataError(folder, "cannot be read", reason(error))
        if on_unreadable is None:
            raise problem from None
        on_unreadable(problem)
        return
    for entry in entries or ():
        path = os.path.join(folder, entry.name)
        if _is_folder(entry):
            yield from _walk(path, visited, on_unreadable, on_other, on_folder, arrays)
        elif is_image_name(entry.name, arrays):
            if _is_file(entry) or not os.path.exists(path):
                yield path
        elif on_other is not None and _is_file(entry):
            on_other(path)


def walk_folders(folder: str) -> Iterator[str]:
    """Yield a folder and its subfolders, each once and with a separator at its end.

    Folders that cannot be read are skipped.

    Args:
        folder: where to look; empty for the working folder, whose subfolders begin with their name.
    """
    return _walk_folders(os.path.join(folder, ""), set())


def _walk_folders(folder: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    try:
        entries = _entries(folder or os.curdir, visited)
    except OSError:
        return
    if entries is None:
        return
    yield folder
    for entry in entries:
        if _is_folder(entry):
            yield from _walk_folders(os.path.join(folder, entry.name, ""), visited)


def _entries(folder: str, visited: set[tuple[int, int]]) -> list[os.DirEntry[str]] | None:
    """Return a folder's visible entries by name; None if it was visited before, through a link."""
    status = os.stat(folder)
    identity = status.st_dev, status.st_ino
    if identity in visited:
        return None
    visited.add(identity)
    with os.scandir(folder) as scanned:
        return sorted((e for e in scanned if not is_hidden(e.name)), key=lambda entry: entry.name)


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
