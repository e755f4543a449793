"""Atomic file operations: after a crash a file has its old or its new content, never a part."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from io import RawIOBase
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from cnn_cli.errors import DataError, reason
from cnn_cli.portable import (
    WINDOWS,
    NoLocksError,
    copy_owner_and_mode,
    lock,
    rename_new,
    synchronize,
    synchronize_folder,
)
from cnn_cli.system import PATIENCE, wait_until_ready

STDOUT = 1
WAITS = 30
WRITABLE_FOLDER = "must be a folder that can be written to"
_TEMPORARY = re.compile(r"\.cnn-\d+-\d+\.tmp$")
_OPEN = re.compile(
    r"/dev/(?P<stream>stdin|stdout|stderr)"
    r"|(/dev|/proc/(?P<process>self|thread-self|\d+))/fd/(?P<number>\d{1,9})"
)
_STREAMS = {"stdin": 0, "stdout": STDOUT, "stderr": 2}
_unfinished: set[Path] = set()  # temporary files of this process


def write_atomic(
    path: str | Path, data: bytes | Callable[[BinaryIO], None], *, own: bool = False
) -> None:
    """Replace a file atomically: readers and crashes see the old content or the new.

    The content is written to a temporary file in the same folder. Once on disk, that file gets the
    old file's permissions and, if allowed, its owner, and is renamed over it. If `path` is a
    symbolic link, its target is replaced. Devices, pipes and open descriptors of this process (`-`,
    ``/dev/stdout``, ``/dev/fd/N``) are written directly.

    Args:
        path: the file; its folder must exist.
        data: the content, or a function that writes it to an open file.
        own: the name belongs to this program: replace whatever has that name, including a link.

    Raises:
        DataError: the file cannot be written. The old file is unchanged and no temporary file is
            left.
        BrokenPipeError: `path` is stdout, and its reader is gone.
    """
    descriptor = None if own else descriptor_of(path)
    try:
        if descriptor is not None:
            _write_to(descriptor, data)
            return
        if not own and _is_special(Path(path)):  # as given: the real path of a pipe is not a file
            with Path(path).open("wb") as device:
                _fill(device, data)
            return
        target = Path(path) if own else Path(os.path.realpath(path))
        old = _regular(target)
        temporary, file = _open_temporary(target.parent, private=old is not None)
        try:
            with file:
                _fill(file, data)
                file.flush()
                if old is not None:
                    copy_owner_and_mode(old, file.fileno())
                synchronize(file.fileno())
                if not WINDOWS:
                    os.replace(temporary, target)  # before closing, which releases the lock
            if WINDOWS:
                os.replace(temporary, target)
        finally:
            _remove(temporary)  # missing if the rename succeeded
        synchronize_folder(target.parent)
    except BrokenPipeError as error:
        if descriptor == STDOUT:
            raise
        raise DataError(path, "cannot be written", reason(error)) from error
    except OSError as error:
        raise DataError(path, "cannot be written", reason(error)) from error


def descriptor_of(path: str | Path) -> int | None:
    """Return the descriptor of this process that a path refers to; None for an ordinary file.

    `-` is stdout. If ``/dev/stdout`` is a file, opening that path would open it a second time, with
    its own position: both would overwrite each other.
    """
    if os.fspath(path) == "-":
        return STDOUT
    place, own = os.path.abspath(path), (None, "self", "thread-self", str(os.getpid()))
    for _ in range(40):  # links may form a loop
        match = _OPEN.fullmatch(place)
        if match is not None and match["process"] in own:
            return _STREAMS[match["stream"]] if match["stream"] else int(match["number"])
        try:
            place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
        except OSError:
            return None
    return None


NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)  # EMFILE: of the process; ENFILE: of the system


class NoDescriptorError(DataError):
    """The process or the system has too many open files; the file itself is not at fault."""


def open_to_read(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; if too many files are open, wait until another thread closes one.

    Raises:
        NoDescriptorError: no descriptor became free within a few seconds.
        OSError: the file cannot be opened for another reason.
    """
    for _ in range(WAITS):
        try:
            return open(path, "rb", buffering)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            problem = error
        time.sleep(PATIENCE)
    raise NoDescriptorError(path, "cannot be opened", reason(problem)) from problem


def make_folder(path: str | Path) -> None:
    """Create a folder and its missing parents, durably: they survive a crash.

    Raises:
        DataError: the folder cannot be created.
    """
    folder = Path(path)
    try:
        if not folder.exists():
            made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            for each in reversed(made):
                synchronize_folder(each.parent)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(path, WRITABLE_FOLDER, reason(error)) from error


def check_writable_folder(path: str | Path) -> None:
    """Create a folder if it is missing, and write a test file into it.

    Raises:
        DataError: the folder cannot be created or written to.
    """
    make_folder(path)
    try:
        temporary, file = _open_temporary(Path(path))
        try:
            with file:
                file.write(bytes(4096))  # a full disk allows an empty file
        finally:
            _remove(temporary)
    except OSError as error:
        raise DataError(path, WRITABLE_FOLDER, reason(error)) from error


def check_could_write(path: str | Path) -> None:
    """Check that a folder could be created and written to, without changing anything.

    Raises:
        DataError: it could not.
    """
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise DataError(path, WRITABLE_FOLDER, f"a file, {folder}")
    if (problem := refusal(folder)) is not None:
        raise DataError(path, WRITABLE_FOLDER, reason(problem))


def refusal(place: str | Path) -> OSError | None:
    """Return the error with which the system would refuse to write to a device or a pipe, or to
    create and delete files in a folder; None if it allows that.
    """
    if os.access(place, os.W_OK | (os.X_OK if os.path.isdir(place) else 0)):
        return None
    number = errno.EACCES
    if hasattr(os, "statvfs"):
        with suppress(OSError):
            number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else number
    return OSError(number, os.strerror(number))


def copy_to_new(source: str, target: str, *, synchronized: bool = False) -> None:
    """Copy a file with its times and permissions to an unused name, atomically.

    Args:
        source: the file.
        target: the new name, in an existing folder.
        synchronized: flush it to disk before returning, so that the caller may delete the source.

    Raises:
        FileExistsError: the name is taken.
        OSError: the source cannot be read or the target not written.
    """
    import shutil

    temporary, file = _open_temporary(Path(target).parent)
    try:
        with file:
            with open(source, "rb") as content:
                shutil.copyfileobj(content, file, 2**20)
            file.flush()
            shutil.copystat(source, temporary)
            if synchronized:
                synchronize(file.fileno())
            if not WINDOWS:
                rename_new(str(temporary), target)  # before closing, which releases the lock
        if WINDOWS:
            rename_new(str(temporary), target)
        if synchronized:
            synchronize_folder(Path(target).parent)
    finally:
        _remove(temporary)


def remove_unfinished() -> None:
    """Delete this process's temporary files, for signals that end it without unwinding the
    stack.
    """
    for temporary in tuple(_unfinished):
        _remove(temporary)


def remove_stale_temporaries(folder: str | Path) -> None:
    """Delete temporary files that killed processes left in a folder; other processes may be writing
    there.
    """
    with suppress(OSError):
        for name in filter(_TEMPORARY.match, os.listdir(folder)):
            path = os.path.join(folder, name)
            if WINDOWS:  # Windows refuses to delete an open file
                with suppress(OSError):
                    os.unlink(path)
                continue
            with suppress(OSError), open(path, "r+b") as file:
                if _lock(file, without=False):
                    os.unlink(path)


def _open_temporary(folder: Path, *, private: bool = False) -> tuple[Path, BinaryIO]:
    """Open a new temporary file and return it with its name, which is registered before it exists.

    The file stays locked while it is open, so that `remove_stale_temporaries` keeps it.

    Args:
        private: only the user may open it, until it gets the permissions of another file.
    """
    for number in count(time.time_ns()):  # processes in different containers may have the same id
        temporary = folder / f".cnn-{os.getpid()}-{number}.tmp"
        _unfinished.add(temporary)
        opener = _open_private if private else None
        try:
            file = open(temporary, "xb", opener=opener)  # noqa: SIM115 - it stays open
        except FileExistsError:
            _unfinished.discard(temporary)
            continue
        except OSError:
            _unfinished.discard(temporary)
            raise
        if _lock(file, without=True) and os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # another process deleted it as stale before it was locked
        _remove(temporary)
    raise AssertionError("count() does not end")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(file: BinaryIO, *, without: bool) -> bool:
    """Lock an open file until it is closed or its process ends.

    Args:
        without: the result on file systems without locks.

    Returns:
        Whether the file is now locked; False if another process holds the lock.
    """
    if WINDOWS:  # Windows protects open files anyway
        return without
    try:
        return lock(file.fileno())
    except (NoLocksError, OSError):
        return without


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
    _unfinished.discard(temporary)


class _Descriptor(RawIOBase):
    """A writer to an open descriptor that is shared with others; closing it keeps the descriptor
    open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # any buffer, there
        """Write all of the data, waiting if the reader is slow."""
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):
            try:
                done += os.write(self._descriptor, view[done:])
            except BlockingIOError:
                wait_until_ready(self._descriptor, "write", PATIENCE)
        return done


def _write_to(descriptor: int, data: bytes | Callable[[BinaryIO], None]) -> None:
    _fill(cast(BinaryIO, _Descriptor(descriptor)), data)


def _regular(path: Path) -> os.stat_result | None:
    """Return the status of an existing regular file; None for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


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
