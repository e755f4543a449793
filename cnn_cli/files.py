"""Files that are either the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from cnn_cli.errors import DataError, reason

WRITABLE_FOLDER = "must be a folder that can be written to"
_TEMPORARY = re.compile(r"\.cnn-\d+-\d+\.tmp$")
_unfinished: set[Path] = set()  # temporary files of this process


def write_atomic(path: str | Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Replace a file in one step: a reader, or a crash, meets the old content or the new.

    The content goes to a temporary file beside it, which takes its place once it is on disk.
    Where `path` is a symbolic link, the file it leads to is replaced; a device or a pipe is
    written directly.

    Args:
        path: the file; its folder exists.
        data: the content, or what writes it into an open file.

    Raises:
        DataError: the file cannot be written; it is as it was, and nothing is left beside it.
    """
    try:
        if _is_special(Path(path)):  # asked of the path as given: a pipe's real name is no file
            with Path(path).open("wb") as device:
                _fill(device, data)
            return
        target = Path(os.path.realpath(path))
        temporary, file = _open_temporary(target.parent)
        try:
            with file:
                _fill(file, data)
                file.flush()
                os.fsync(file.fileno())
                if os.name != "nt":
                    os.replace(temporary, target)  # before it is closed, which unlocks it
            if os.name == "nt":  # where no open file can be renamed
                os.replace(temporary, target)
        finally:
            _remove(temporary)  # no longer there if it took its place
        _sync_folder(target.parent)
    except OSError as error:
        raise DataError(path, "cannot be written", reason(error)) from error


def make_folder(path: str | Path) -> None:
    """Make a folder, and those above it, where there is none, to stay there after a crash.

    Raises:
        DataError: no folder can be made there.
    """
    folder = Path(path)
    try:
        if not folder.exists():
            made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            for each in reversed(made):
                _sync_folder(each.parent)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(path, WRITABLE_FOLDER, reason(error)) from error


def check_writable_folder(path: str | Path) -> None:
    """Make a folder where there is none, and prove that a file can be made in it.

    Raises:
        DataError: no folder can be made there, or nothing be written into it.
    """
    make_folder(path)
    try:
        temporary, file = _open_temporary(Path(path))
        try:
            with file:
                file.write(bytes(4096))  # a full disk refuses this, not the empty file
        finally:
            _remove(temporary)
    except OSError as error:
        raise DataError(path, WRITABLE_FOLDER, reason(error)) from error


def check_could_write(path: str | Path) -> None:
    """Say whether a folder could be made and written to, without doing so.

    Raises:
        DataError: it could not.
    """
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise DataError(path, WRITABLE_FOLDER, f"a file, {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(path, WRITABLE_FOLDER, "permission denied")


def remove_unfinished() -> None:
    """Delete this process's temporary files; for a signal that ends it, where nothing unwinds."""
    for temporary in tuple(_unfinished):
        _remove(temporary)


def remove_stale_temporaries(folder: str | Path) -> None:
    """Delete what killed processes left half-written in a folder; others may be writing there."""
    with suppress(OSError):
        for name in filter(_TEMPORARY.match, os.listdir(folder)):
            with suppress(OSError), open(os.path.join(folder, name), "r+b") as file:
                if _lock(file, without=False):
                    os.unlink(file.name)


def _open_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file and its name, which `remove_unfinished` knows before it is there.

    It is locked while it is open, so that `remove_stale_temporaries` leaves it alone.
    """
    for number in count(time.time_ns()):  # in containers another process may have the same id
        temporary = folder / f".cnn-{os.getpid()}-{number}.tmp"
        _unfinished.add(temporary)
        try:
            file = temporary.open("xb")
        except FileExistsError:
            _unfinished.discard(temporary)
            continue
        except OSError:
            _unfinished.discard(temporary)
            raise
        if _lock(file, without=True) and os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # taken for a stale one before it was locked
        _remove(temporary)
    raise AssertionError("count() does not end")


def _lock(file: BinaryIO, *, without: bool) -> bool:
    """Lock an open file until it is closed or its process ends.

    Args:
        without: the answer where the file system, or Windows, has no such locks.

    Returns:
        Whether it is locked now; False where another one has it.
    """
    if os.name == "nt":
        return without
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without
    return True


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
    _unfinished.discard(temporary)


def _fill(file: BinaryIO, data: bytes | Callable[[BinaryIO], None]) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        data(file)


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk as well, where the system can do that."""
    if os.name == "nt":
        return
    with suppress(OSError):  # some network file systems refuse; the file itself is complete
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
