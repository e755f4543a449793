"""System calls that differ between operating systems: locks, fsync, cores, memory, limits,
processes, watched folders, renames.

Only this module makes such calls (a test checks that). Each function documents its fallback.
Training, evaluating and predicting work with the fallbacks.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

WINDOWS = os.name == "nt"
"""Windows: open files can be neither renamed nor deleted, and folders cannot be synchronized."""

LOCK_AT = 2**30
"""The byte that is locked on Windows, where a locked byte cannot be read by others."""

NO_LOCKS = {
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
    if hasattr(errno, name)
}
"""Errors of file systems without locks, such as Lustre without ``flock``."""


class NoLocksError(Exception):
    """The file system or the operating system has no locks."""


def _module(name: str) -> ModuleType | None:
    """Import a standard module that exists on some systems only; None elsewhere."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        return None


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or its process ends.

    Returns:
        Whether the file is now locked; False if another process holds the lock.

    Raises:
        NoLocksError: the file system or the operating system has no locks.
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


def synchronize(descriptor: int) -> None:
    """Flush a file's content to disk: with F_FULLFSYNC on macOS, whose fsync leaves it in the
    drive's cache, and with fsync elsewhere.
    """
    fcntl: Any = _module("fcntl")
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # network drives lack F_FULLFSYNC
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def synchronize_folder(folder: Path) -> None:
    """Flush the names in a folder to disk; some systems and network drives cannot."""
    if WINDOWS:
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_owner_and_mode(old: os.stat_result, descriptor: int) -> None:
    """Give an open file the permissions of another file, and its owner and group if allowed.

    If the group cannot be kept, the new file's group gets no more rights than everybody. Does
    nothing on Windows.

    Args:
        old: the status of the other file.
        descriptor: the open file.
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
    with suppress(OSError):  # file systems without permissions
        os.fchmod(descriptor, mode)


def open_unfollowed(path: Path, mode: int = 0o666) -> int:
    """Open a file for locking without following links, creating it if missing; not inherited.

    Raises:
        OSError: the file cannot be opened, or it is a symbolic link.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, mode)


def cores() -> frozenset[int]:
    """Return the cores that this process may use; all cores if the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def let_others_run() -> None:
    """Yield the core to another waiting process."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


def heed_cpu_limit() -> None:
    """Have the system send SIGXCPU early enough to save.

    `ulimit -t` sets the soft limit, at which SIGXCPU is sent, equal to the hard limit, at which the
    process is killed without a message. This lowers the soft limit to nine tenths of the hard
    limit, but by 5 to 60 seconds, of which importing matplotlib and drawing the curves at the end
    of a run takes 2. Of a limit below 10 seconds, it leaves half.
    """
    resource = _module("resource")
    if resource is None:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or soft < hard:
        return
    room = min(max(hard // 10, 5), 60, hard // 2)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (max(hard - room, 1), hard))


def reserve(descriptor: int, nbytes: int) -> None:
    """Make a file `nbytes` long, and allocate its blocks if the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, nbytes)
    else:
        os.ftruncate(descriptor, nbytes)


def can_share_memory() -> bool:
    """Whether `shared_memory` exists: on Linux."""
    return hasattr(os, "memfd_create")


def shared_memory(name: str) -> BinaryIO:
    """Create a file in memory, for `path_for_others`."""
    return open(os.memfd_create(name), "r+b")


def end_with_parent() -> None:
    """Have Linux kill this process when the one that started it ends; elsewhere nothing happens."""
    death_signal = 1  # PR_SET_PDEATHSIG
    _call_linux("prctl", death_signal, signal.SIGKILL)


def return_free_memory() -> None:
    """Return freed memory to the system where the C library keeps it, as glibc does for each
    thread; elsewhere nothing happens.
    """
    _call_linux("malloc_trim", 0)


def _call_linux(function: str, *arguments: int) -> None:
    """Call a function of Linux's C library, if there is one."""
    if sys.platform != "linux":
        return
    import ctypes  # slow to import

    with suppress(OSError, AttributeError):  # another C library
        getattr(ctypes.CDLL(None), function)(*arguments)


def path_for_others(descriptor: int) -> str:
    """Return the path by which other processes on this computer open this process's unnamed
    file.
    """
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def free_memory() -> int:
    """Return the available memory in bytes on systems without Linux's ``/proc``.

    It uses ``vm_stat`` on macOS and ``GlobalMemoryStatusEx`` on Windows. Elsewhere it returns half
    of the physical memory, or 2 GiB if that is unknown.
    """
    ways: tuple[Callable[[], int | None], ...] = (_free_of_macos, _free_of_windows, _half)
    for way in ways:
        with suppress(Exception):  # tests pretend to be on another system
            found = way()
            if found is not None and found > 0:
                return found
    return 2 * 2**30


def _free_of_macos() -> int | None:
    if sys.platform != "darwin":
        return None
    import subprocess  # slow to import

    done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, timeout=5, check=True)
    return free_of_vm_stat(done.stdout.decode())


def free_of_vm_stat(text: str) -> int | None:
    """Return the bytes that ``vm_stat`` reports as free, inactive, speculative or purgeable; macOS
    gives up the last three on demand. None if the text cannot be parsed.
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
    """Return the address space in bytes that this process may still map (``ulimit -v``); None
    without a limit.
    """
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
    """Whether a process on this computer is still running; True if that cannot be determined.

    Args:
        process: its number.
        started: its start time from `start_of`: the system reuses numbers.
    """
    if WINDOWS:  # on Windows the call below would end the process
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
    """Return the start time of a process in the system's units; None if the system does not report
    it.
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may contain anything, including spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else None


class Inotify:
    """Events in folders, from Linux's inotify through the C library.

    Raises:
        OSError: the system has no inotify, or this user has reached its limits.
    """

    CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE = 0x8, 0x40, 0x80, 0x100
    DELETE_SELF, MOVE_SELF = 0x400, 0x800
    UNMOUNT, OVERFLOW, IGNORED, FOLDER = 0x2000, 0x4000, 0x8000, 0x40000000
    """Bits of an event: closed after writing, renamed away, renamed into place, created; the
    watched folder itself was deleted, renamed or unmounted; events were lost; the watch ended; the
    subject is a folder.
    """
    ASKED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE_SELF | MOVE_SELF
    ENDS = IGNORED | UNMOUNT | DELETE_SELF | MOVE_SELF
    _ONLY_FOLDERS = 0x01000000
    _HEAD = 16  # header before a name: watch, bits, cookie, length of the name

    def __init__(self) -> None:
        import ctypes  # imported here because nothing else needs it

        try:
            self._library = ctypes.CDLL(None, use_errno=True)
            start = self._library.inotify_init1
        except (OSError, TypeError, AttributeError) as error:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
        self._errno = ctypes.get_errno
        self.descriptor = self._checked(start(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, folder: str) -> int:
        """Watch a folder and return the number that its events carry; the same folder has the same
        number.
        """
        flags = self.ASKED | self._ONLY_FOLDERS
        return self._checked(
            self._library.inotify_add_watch(self.descriptor, os.fsencode(folder), flags)
        )

    def remove(self, watch: int) -> None:
        """Stop watching a folder, which may no longer exist."""
        self._library.inotify_rm_watch(self.descriptor, watch)

    def events(self) -> list[tuple[int, int, str]]:
        """Return watch, bits and name of each pending event."""
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
        """Close the descriptor and with it all watches."""
        os.close(self.descriptor)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number))
        return result


def rename_new(old: str, new: str) -> None:
    """Rename a file to an unused name.

    Linux and macOS do this in one call. Elsewhere, and on file systems without that call, the file
    has both names for a moment, or the new name is an empty file for a moment.

    Raises:
        FileExistsError: the name is taken.
        OSError: the file cannot be renamed; `errno.EXDEV` for another file system.
    """
    if WINDOWS:  # on Windows, rename never replaces a file
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
    import ctypes  # imported here because nothing else needs it

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
    if number in NO_LOCKS or number == errno.EINVAL:  # file systems without the flag
        return False
    raise OSError(number, os.strerror(number), old)
