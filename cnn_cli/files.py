"""Files that are either the old one or the new one, whatever happens in between."""

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
    synchronise,
    synchronise_folder,
)
from cnn_cli.system import wait_until_ready

STDOUT = 1
WAITS = 30
PATIENCE = 0.1  # seconds, after which signals are looked at
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
    """Replace a file in one step: a reader, or a crash, meets the old content or the new.

    The content goes to a temporary file beside it, which takes its place, its permissions and,
    where that is allowed, its owner once it is on disk. Where `path` is a symbolic link, the file
    it leads to is replaced. A device or a pipe is written directly, and so is what this process
    holds open: `-` or ``/dev/stdout``, ``/dev/fd/N``.

    Args:
        path: the file; its folder exists.
        data: the content, or what writes it into an open file.
        own: the name belongs to this program: whatever stands there is replaced itself, a link too.

    Raises:
        DataError: the file cannot be written; it is as it was, and nothing is left beside it.
        BrokenPipeError: it is stdout, and the reader is gone.
    """
    descriptor = None if own else descriptor_of(path)
    try:
        if descriptor is not None:
            _write_to(descriptor, data)
            return
        if not own and _is_special(Path(path)):  # as given: a pipe's real name is no file
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
                synchronise(file.fileno())
                if not WINDOWS:
                    os.replace(temporary, target)  # before it is closed, which unlocks it
            if WINDOWS:
                os.replace(temporary, target)
        finally:
            _remove(temporary)  # no longer there if it took its place
        synchronise_folder(target.parent)
    except BrokenPipeError as error:
        if descriptor == STDOUT:
            raise
        raise DataError(path, "cannot be written", reason(error)) from error
    except OSError as error:
        raise DataError(path, "cannot be written", reason(error)) from error


def descriptor_of(path: str | Path) -> int | None:
    """The open file of this process that a path means; None where it is a file like any other.

    `-` is stdout. The system opens ``/dev/stdout`` anew where it is a file: what stood there would
    be written over, and what comes next over that.
    """
    if os.fspath(path) == "-":
        return STDOUT
    place, own = os.path.abspath(path), (None, "self", "thread-self", str(os.getpid()))
    for _ in range(40):  # links, that lead in a circle perhaps
        match = _OPEN.fullmatch(place)
        if match is not None and match["process"] in own:
            return _STREAMS[match["stream"]] if match["stream"] else int(match["number"])
        try:
            place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
        except OSError:
            return None
    return None


NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)  # of the process, of the system


class NoDescriptorError(DataError):
    """The process or the system has too many files open: no fault of the file that was to be."""


def open_to_read(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a file; where too many are open, wait until another thread has closed one.

    Raises:
        NoDescriptorError: none is closed within some seconds.
        OSError: it cannot be opened for another reason.
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
                synchronise_folder(each.parent)
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


def copy_to_new(source: str, target: str, *, synchronised: bool = False) -> None:
    """Copy a file, its times and permissions, to a name that nobody has, where it appears whole.

    Args:
        source: the file.
        target: the name, in a folder that is there.
        synchronised: have it on disk before this returns, so that the source can be deleted.

    Raises:
        FileExistsError: somebody has the name.
        OSError: it cannot be read or written.
    """
    import shutil

    temporary, file = _open_temporary(Path(target).parent)
    try:
        with file:
            with open(source, "rb") as content:
                shutil.copyfileobj(content, file, 2**20)
            file.flush()
            shutil.copystat(source, temporary)
            if synchronised:
                synchronise(file.fileno())
            if not WINDOWS:
                rename_new(str(temporary), target)  # before it is closed, which unlocks it
        if WINDOWS:
            rename_new(str(temporary), target)
        if synchronised:
            synchronise_folder(Path(target).parent)
    finally:
        _remove(temporary)


def remove_unfinished() -> None:
    """Delete this process's temporary files; for a signal that ends it, where nothing unwinds."""
    for temporary in tuple(_unfinished):
        _remove(temporary)


def remove_stale_temporaries(folder: str | Path) -> None:
    """Delete what killed processes left half-written in a folder; others may be writing there."""
    with suppress(OSError):
        for name in filter(_TEMPORARY.match, os.listdir(folder)):
            path = os.path.join(folder, name)
            if WINDOWS:  # which deletes no file that is open
                with suppress(OSError):
                    os.unlink(path)
                continue
            with suppress(OSError), open(path, "r+b") as file:
                if _lock(file, without=False):
                    os.unlink(path)


def _open_temporary(folder: Path, *, private: bool = False) -> tuple[Path, BinaryIO]:
    """A new file and its name, which `remove_unfinished` knows before it is there.

    It is locked while it is open, so that `remove_stale_temporaries` leaves it alone.

    Args:
        private: nobody but the user may open it, until it has the permissions of another.
    """
    for number in count(time.time_ns()):  # in containers another process may have the same id
        temporary = folder / f".cnn-{os.getpid()}-{number}.tmp"
        _unfinished.add(temporary)
        try:
            file = open(temporary, "xb", opener=_open_private if private else None)  # noqa: SIM115
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


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(file: BinaryIO, *, without: bool) -> bool:
    """Lock an open file until it is closed or its process ends.

    Args:
        without: the answer where there are no such locks.

    Returns:
        Whether it is locked now; False where another one has it.
    """
    if WINDOWS:  # where it is protected by being open
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
    """Writes to what is open already, whatever else writes there, and leaves it open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # any buffer, there
        """Write all of it; where the reader is slow, wait."""
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
    """What the system says of a file that is there."""
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
