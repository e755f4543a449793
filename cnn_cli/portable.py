"""Calls that not every operating system has: locks, synchronised files, cores, free memory.

This module alone asks for them (a test holds that). Each function says what it does where the
system has no such call; nothing here is needed to train, evaluate and predict.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

WINDOWS = os.name == "nt"
"""Where no open file can be renamed or deleted, and a folder cannot be synchronised."""

LOCK_AT = 2**30
"""The byte of a file that is locked on Windows, where nobody can read what another one locks."""

NO_LOCKS = {
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
    if hasattr(errno, name)
}
"""What a file system answers that has no locks, such as Lustre without ``flock``."""


class NoLocksError(Exception):
    """The file system, or the operating system, has no locks."""


def _module(name: str) -> ModuleType | None:
    """A module of Python's library that belongs to some systems only."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        return None


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or its process ends.

    Returns:
        Whether it is locked now; False where another one has it.

    Raises:
        NoLocksError: files cannot be locked there.
        OSError: the system refuses for another reason.
    """
    fcntl: Any = _module("fcntl")
    msvcrt: Any = None if fcntl is not None else _module("msvcrt")
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, LOCK_AT, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            raise NoLocksError
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno in (errno.EACCES, errno.EDEADLK):
            return False
        if error.errno in NO_LOCKS:
            raise NoLocksError from error
        raise
    return True


def synchronise(descriptor: int) -> None:
    """Have a file's content on disk: with macOS's F_FULLFSYNC, whose fsync leaves it in the
    drive's own cache, else with fsync.
    """
    fcntl: Any = _module("fcntl")
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # a network drive has none
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def synchronise_folder(folder: Path) -> None:
    """Have the names in a folder on disk; some systems and network drives cannot."""
    if WINDOWS:
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_owner_and_mode(old: os.stat_result, descriptor: int) -> None:
    """Give an open file the permissions of another, and its owner and group where that is allowed.

    A group that cannot be kept is let in no further than everybody: the file's group is another.
    Windows has no such permissions.

    Args:
        old: of the other file.
        descriptor: of a file of this process.
    """
    if not hasattr(os, "fchmod"):
        return
    mode = old.st_mode & 0o7777
    now = os.fstat(descriptor)
    if hasattr(os, "fchown") and (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        for owner, group in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
            with suppress(OSError):
                os.fchown(descriptor, owner, group)
                break
        now = os.fstat(descriptor)
        if now.st_gid != old.st_gid:
            mode &= ~0o070 | (mode & 0o007) << 3
        if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
            mode &= 0o777
    with suppress(OSError):  # a file system without permissions
        os.fchmod(descriptor, mode)


def open_unfollowed(path: Path, mode: int = 0o666) -> int:
    """Open a file to lock it, making it where there is none; closed in programs that are started.

    Raises:
        OSError: it cannot be opened, or it is a symbolic link.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, mode)


def cores() -> frozenset[int]:
    """The cores that this process may use; where the system does not say, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def let_others_run() -> None:
    """Give the core to another process that waits for one."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


def heed_cpu_limit() -> None:
    """Have the system send SIGXCPU while there still is time to save.

    `ulimit -t` sets the limit at which that is sent and the one at which the process is killed to
    the same: it is killed without a word. The first becomes nine tenths of the second, 2 to 60
    seconds less.
    """
    resource = _module("resource")
    if resource is None:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or soft < hard:
        return
    room = min(max(hard // 10, 2), 60)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (max(hard - room, 1), hard))


def reserve(descriptor: int, nbytes: int) -> None:
    """Make a file `nbytes` long and, where the system can, its blocks its own."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, nbytes)
    else:
        os.ftruncate(descriptor, nbytes)


def can_share_memory() -> bool:
    """Whether there is `shared_memory`: Linux."""
    return hasattr(os, "memfd_create")


def shared_memory(name: str) -> BinaryIO:
    """A file in memory, for `path_for_others`."""
    return open(os.memfd_create(name), "r+b")


def path_for_others(descriptor: int) -> str:
    """Where another process of this computer finds a file without a name that this one holds."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def free_memory() -> int:
    """Bytes that could be taken, where Linux's ``/proc`` does not say.

    macOS is asked through ``vm_stat``, Windows through ``GlobalMemoryStatusEx``. Elsewhere half of
    what is built in; where not even that is known, 2 GiB.
    """
    ways: tuple[Callable[[], int | None], ...] = (_free_of_macos, _free_of_windows, _half)
    for way in ways:
        with suppress(Exception):  # of a system that is another one than it seems
            found = way()
            if found is not None and found > 0:
                return found
    return 2 * 2**30


def _free_of_macos() -> int | None:
    if sys.platform != "darwin":
        return None
    import subprocess  # which imports a lot

    done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, timeout=5, check=True)
    return free_of_vm_stat(done.stdout.decode())


def free_of_vm_stat(text: str) -> int | None:
    """The bytes that ``vm_stat`` calls free, or that macOS would give up: inactive, speculative and
    purgeable pages. None where the text says no such thing.
    """
    size = re.search(r"page size of (\d+) bytes", text)
    kinds = ("free", "inactive", "speculative", "purgeable")
    pages = re.findall(rf"^Pages ({'|'.join(kinds)}):\s+(\d+)\.", text, re.MULTILINE)
    if size is None or not pages:
        return None
    return int(size[1]) * sum(int(count) for _, count in pages)


def _free_of_windows() -> int | None:
    if not WINDOWS:
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", "page", "page_free")),
            *((name, ctypes.c_uint64) for name in ("virtual", "virtual_free", "extended")),
        )

    status = Status(length=ctypes.sizeof(Status))
    library: Any = getattr(ctypes, "windll")  # noqa: B009 - other systems have none, says mypy
    if not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)


def _half() -> int | None:
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def address_space_left() -> int | None:
    """Bytes that this process may still map (``ulimit -v``); None without a limit."""
    resource: Any = _module("resource")
    if resource is None or not hasattr(resource, "RLIMIT_AS"):
        return None
    limit: int = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    page: int = resource.getpagesize()
    return max(0, limit - pages * page)


def is_running(process: int, started: str | None) -> bool:
    """Whether a process of this computer has not ended; where that cannot be known, True.

    Args:
        process: its number.
        started: what `start_of` said of it: a number is given again to another process.
    """
    if WINDOWS:  # where the call below would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    now = start_of(process)
    return now is None or started is None or now == started


def start_of(process: int) -> str | None:
    """When a process started, as the system counts it; None where it does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, between brackets, may hold anything.
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else None


class Inotify:
    """What happens in folders, as Linux's inotify tells it, through the C library.

    Raises:
        OSError: the system has none, or gives this user no more of them.
    """

    CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE = 0x8, 0x40, 0x80, 0x100
    DELETE_SELF, MOVE_SELF = 0x400, 0x800
    UNMOUNT, OVERFLOW, IGNORED, FOLDER = 0x2000, 0x4000, 0x8000, 0x40000000
    """Bits of an event: it was closed after writing, renamed away or into place, made; the watched
    folder itself was deleted, renamed, unmounted; events were lost; no more will come of it; what
    it happened to is a folder.
    """
    ASKED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE_SELF | MOVE_SELF
    ENDS = IGNORED | UNMOUNT | DELETE_SELF | MOVE_SELF
    _ONLY_FOLDERS = 0x01000000
    _HEAD = 16  # bytes before a name: watch, bits, cookie, the name's size

    def __init__(self) -> None:
        import ctypes  # which nothing else needs

        try:
            self._library = ctypes.CDLL(None, use_errno=True)
            start = self._library.inotify_init1
        except (OSError, TypeError, AttributeError) as error:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
        self._errno = ctypes.get_errno
        self.descriptor = self._checked(start(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, folder: str) -> int:
        """Watch a folder; the number that its events carry, the same for the same folder."""
        flags = self.ASKED | self._ONLY_FOLDERS
        return self._checked(
            self._library.inotify_add_watch(self.descriptor, os.fsencode(folder), flags)
        )

    def remove(self, watch: int) -> None:
        """Watch a folder no longer; it may be gone."""
        self._library.inotify_rm_watch(self.descriptor, watch)

    def events(self) -> list[tuple[int, int, str]]:
        """The watch, the bits and the name of what has happened; nothing where nothing has."""
        try:
            content = os.read(self.descriptor, 2**16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(content):
            watch = int.from_bytes(content[at : at + 4], sys.byteorder, signed=True)
            bits = int.from_bytes(content[at + 4 : at + 8], sys.byteorder)
            end = at + self._HEAD + int.from_bytes(content[at + 12 : at + 16], sys.byteorder)
            found.append((watch, bits, os.fsdecode(content[at + self._HEAD : end].rstrip(b"\0"))))
            at = end
        return found

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self.descriptor)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number))
        return result


def rename_new(old: str, new: str) -> None:
    """Rename a file to a name that nobody has.

    Linux and macOS do both in one step. Elsewhere, and on file systems that cannot, the file has
    both names for a moment, or the new name is an empty file for a moment.

    Raises:
        FileExistsError: somebody has it.
        OSError: it cannot be renamed: with `errno.EXDEV` where it would be to another file system.
    """
    if WINDOWS:  # where this never replaces a file
        os.rename(old, new)
        return
    if _renamed_at_once(old, new):
        return
    try:
        os.link(old, new, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOENT, errno.ENOSPC):
            raise
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(old, new)
    else:
        os.unlink(old)


def _renamed_at_once(old: str, new: str) -> bool:
    import ctypes  # which nothing else needs

    library = ctypes.CDLL(None, use_errno=True)
    names = ctypes.c_char_p(os.fsencode(old)), ctypes.c_char_p(os.fsencode(new))
    here, no_replace, exclusive = -100, 1, 4  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCL
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        result = library.renamex_np(*names, ctypes.c_uint(exclusive))
    elif hasattr(library, "renameat2"):
        result = library.renameat2(here, names[0], here, names[1], ctypes.c_uint(no_replace))
    else:
        return False
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in NO_LOCKS or number == errno.EINVAL:  # of a file system that cannot
        return False
    raise OSError(number, os.strerror(number), old)
