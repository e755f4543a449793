"""Sort images into folders by class: copy, link or move them, without ever overwriting a file.

An interrupted run can be repeated: an image that is already in place is kept and not duplicated,
and an original is deleted only once its copy is complete.
"""

from __future__ import annotations

import errno
import filecmp
import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Literal

from cnn_cli.data.archive import archive_of
from cnn_cli.errors import DataError, printable, reason
from cnn_cli.files import copy_to_new, make_folder, refusal, remove_stale_temporaries
from cnn_cli.portable import rename_new

How = Literal["copy", "link", "move"]
UNKNOWN, UNREADABLE = "_unknown", "_unreadable"
UNSAFE = frozenset('/\\:*?"<>|%')  # special on some system, or in these folder names
MOST_NAME = 200  # bytes of a folder name; file systems allow 255
SECONDS = 2.0  # times that differ by less count as equal, as on FAT
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS}
NO_HARD_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}


def folder_name(label: str) -> str:
    """Return the folder name for a class: its own name if every system allows that.

    Other characters are percent-encoded, such as `%2F` for a slash. Different classes have
    different names.
    """
    safe = [_escaped(char) if char in UNSAFE or printable(char) != char else char for char in label]
    for end in (0, -1):
        if safe[end] in ". ":
            safe[end] = _escaped(safe[end])
    name = "".join(safe)
    if name in (UNKNOWN, UNREADABLE):
        name = _escaped(name[0]) + name[1:]
    if len(name.encode()) > MOST_NAME:
        cut = name.encode()[: MOST_NAME - 20].decode(errors="ignore")
        name = f"{cut}%{blake2b(name.encode(), digest_size=8).hexdigest()}"
    return name


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


class Sorter:
    """Puts images into folders by class, below one folder.

    Args:
        root: created if missing.
        how: copy, link or move.
        dry: only report where images would be put.
    """

    def __init__(self, root: Path, how: How, dry: bool) -> None:
        self.root = root
        self.how = how
        self.dry = dry
        self._real = os.path.realpath(root) + os.sep
        self._made: set[str] = set()
        self._planned: set[int] = set()
        self._inside = lru_cache(lambda folder: f"{os.path.realpath(folder)}{os.sep}")

    def holds(self, path: str) -> bool:
        """Whether an image is already in one of the folders."""
        return self._inside(os.path.dirname(path)).startswith(self._real)

    def place(self, path: str, label: str | None, unreadable: bool) -> tuple[str, DataError | None]:
        """Put an image into its folder.

        Args:
            path: a file; what is not a file, or lies in an archive, stays in place.
            label: its class; None if it has none.
            unreadable: whether it cannot be read as an image.

        Returns:
            Its new path, "" if it stays in place; and the reason if it could not be put there.

        Raises:
            DataError: the disk is full.
        """
        verb = {"copy": "copied", "link": "linked", "move": "moved"}[self.how]
        if not os.path.isfile(path):
            if archive_of(path) is None:
                return "", None
            return "", DataError(path, f"cannot be {verb}", "an image in an archive")
        known = UNKNOWN if label is None else folder_name(label)
        folder = self.root / (UNREADABLE if unreadable else known)
        try:
            if not self.dry and str(folder) not in self._made:
                make_folder(folder)
                remove_stale_temporaries(folder)
                self._made.add(str(folder))
            return self._place(path, folder), None
        except OSError as error:
            is_of_image = error.errno == errno.EROFS and error.filename == path
            if error.errno in FULL and not is_of_image:
                raise DataError(folder, "cannot be written", reason(error)) from error
            return "", DataError(path, f"cannot be {verb} to {folder}", reason(error))

    def _place(self, path: str, folder: Path) -> str:
        for target in _names(folder, os.path.basename(path)):
            if os.path.lexists(target):
                if _is_same(path, target):
                    self._finish(path, target)
                    return target
            elif self.dry:
                number = hash(target)
                if number not in self._planned:
                    self._planned.add(number)
                    return target
            else:
                try:
                    self._act(path, target)
                    return target
                except FileExistsError:  # another process was faster
                    continue
        return ""

    def _act(self, path: str, target: str) -> None:
        if self.how == "copy":
            copy_to_new(path, target)
        elif self.how == "link":
            _link(os.path.realpath(path), target)
        elif os.path.islink(path):  # a relative link would be wrong in the new folder
            _check_deletable(path)
            os.symlink(os.path.realpath(path), target)
            os.unlink(path)
        else:
            try:
                rename_new(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _check_deletable(path)
                copy_to_new(path, target, synchronized=True)
                os.unlink(path)

    def _finish(self, path: str, target: str) -> None:
        """Delete the original of a moved image whose copy is complete."""
        if self.how != "move" or self.dry:
            return
        here, there = os.lstat(path), os.lstat(target)
        # Two paths of one entry, as on systems where `A.png` is `a.png`, are not deleted.
        one = os.path.samestat(here, there) and here.st_nlink == 1
        if not one and _entry(path) != _entry(target):
            os.unlink(path)


def _check_deletable(path: str) -> None:
    """Check that an image can be deleted, so that none is copied that cannot be moved.

    Raises:
        OSError: it cannot, for example on a camera's card that is mounted read-only.
    """
    problem = refusal(os.path.dirname(path) or os.curdir)
    if problem is not None:
        raise OSError(problem.errno, problem.strerror, path)


def _names(folder: Path, name: str) -> Iterator[str]:
    """Yield `a.png`, `a-2.png`, `a-3.png` and so on."""
    yield str(folder / name)
    stem, suffix = os.path.splitext(name)
    for number in count(2):
        yield str(folder / f"{stem}-{number}{suffix}")


def _entry(path: str) -> tuple[str, str]:
    return os.path.realpath(os.path.dirname(path)), os.path.basename(path)


def _is_same(path: str, other: str) -> bool:
    """Whether two paths are one file, or one is a copy of the other."""
    try:
        here, there = os.stat(path), os.stat(other)
    except OSError:  # a dangling link
        return False
    if os.path.samestat(here, there):
        return True
    near = abs(here.st_mtime - there.st_mtime) <= SECONDS
    return near and here.st_size == there.st_size and filecmp.cmp(path, other, shallow=False)


def _link(path: str, target: str) -> None:
    """Create a hard link, or a symbolic one across file systems."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        os.symlink(path, target)
