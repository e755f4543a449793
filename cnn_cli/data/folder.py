"""Folders of images: which classes, parts and files a folder holds.

Names with a leading dot are passed over. Symbolic links are followed, and a folder is entered
once only, so that a loop of links ends. The order is that of the names.
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

# Those that Pillow registers for `formats.FORMATS`, as a test sees: to ask Pillow, which imports
# all of its plugins for that, takes longer than to list a folder.
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
"""Of pictures in class folders; elsewhere an array may be anything."""
LAYOUT = "must be a folder with a sub-folder of images for each class"


def is_image_name(name: str, arrays: bool = True) -> bool:
    """Whether a file of this name is taken for an image: by its extension, in any case.

    Args:
        arrays: those of NumPy are.
    """
    extension = os.path.splitext(name)[1].lower()
    if extension == ARRAY_EXTENSION:
        return arrays
    return extension in EXTENSIONS or (extension in HEIF and has_heif())


class FolderListing(Listing):
    """A folder of class folders, or of parts that hold them. Images are listed when asked for.

    Args:
        root: the folder.
        classes: names that are known to be classes, see `find_parts`.

    Raises:
        DataError: it is missing, no folder, cannot be read, or mixes parts and classes.
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
        """The folders in one; images beside them go to `outside`."""
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
    """Name and path of the visible folders in `root`, sorted by name, and paths of its images.

    Raises:
        DataError: `root` is missing, no folder, or cannot be read.
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
    # Not `os.path.join`, which leaves "./photos" as it is: messages name what was given plainly.
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
    """Paths of the images in `folder` and its sub-folders, each joined to `folder` as given.

    A link to a file that is not there counts as an image, so that it is reported and not lost.

    Args:
        folder: where to look.
        on_unreadable: called with the error of a folder that cannot be read, which is then
            passed over.
        on_other: called with the path of a visible file without an image extension.
        on_folder: called with the path of each folder before it is read, and says whether it is.
        arrays: NumPy's files are images.

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
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scanned:
            entries = sorted(
                (e for e in scanned if not is_hidden(e.name)), key=lambda entry: entry.name
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
            yield from _walk(path, visited, on_unreadable, on_other, on_folder, arrays)
        elif is_image_name(entry.name, arrays):
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
