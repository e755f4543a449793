"""Resources of this process: cores, memory and folders, also inside a container."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cnn_cli import portable
from cnn_cli.errors import DataError, size_text

ROOT = Path("/")
PATIENCE = 0.1
"""Seconds after which a wait for a pipe or a folder looks for signals."""

OPENBLAS_BYTES = 64 * 2**20
"""Bytes of the ``ulimit -v`` address space that memory plans leave free: OpenBLAS ends the process
if it cannot allocate a buffer of 32 MiB.
"""

NETWORK = frozenset(
    [
        *("9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"),
    ]
)
"""Linux's names of file systems that several computers share; those of FUSE begin with `fuse.`."""

_claimed = threading.Event()


def claim_process() -> None:
    """Declare that this process runs the program itself, rather than a user's code that imports
    `cnn_cli`.

    Only then may process-wide settings, such as those of other packages, be changed.
    """
    _claimed.set()


def process_is_ours() -> bool:
    """Whether the program called `claim_process`."""
    return _claimed.is_set()


def cpu_count(root: Path = ROOT) -> int:
    """Return the cores that this process may use: its affinity and its cgroup quota, rounded up.

    Args:
        root: the folder that contains ``proc`` and ``sys``.
    """
    cores = float(len(portable.cores()))
    for version, folder in _control_groups("cpu", root):
        if version == 2:
            quota, period = [*(_text(folder / "cpu.max") or "").split(), "", ""][:2]
        else:
            quota = _text(folder / "cpu.cfs_quota_us") or ""
            period = _text(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            cores = min(cores, int(quota) / int(period))
    return max(1, int(-(-cores // 1)))


def available_memory(root: Path = ROOT, *, processes: int = 1) -> int:
    """Return the bytes that can be allocated without swapping or reaching a limit of a control
    group or of the address space.

    File cache that the kernel can drop counts as available.

    Args:
        root: the folder that contains ``proc`` and ``sys``.
        processes: number of processes that share the memory equally; each has an address space of
            its own.
    """
    free = _fields(root / "proc/meminfo").get("MemAvailable:")
    available = portable.free_memory() if free is None else free * 1024
    for version, folder in _control_groups("memory", root):
        stat = _fields(folder / "memory.stat")
        if version == 2:
            limits, usage, prefix = ["memory.max", "memory.high"], "memory.current", ""
        else:
            limits, usage, prefix = ["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_"
        used = _number(folder / usage)
        reclaimable = sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("active", "inactive"))
        for name in limits:
            limit = _number(folder / name)
            if limit is not None and used is not None:
                available = min(available, limit - max(0, used - reclaimable))
    available //= processes
    left = portable.address_space_left()
    if left is not None:
        available = min(available, left - OPENBLAS_BYTES)
    return max(0, available)


def check_memory(need: int, place: object, rule: str) -> None:
    """Refuse what needs more memory than is available, before it is allocated.

    Args:
        need: bytes.
        place, rule: as in `DataError`.

    Raises:
        DataError: it needs more.
    """
    have = available_memory()
    if need > have:
        raise DataError(place, rule, f"{size_text(need)} of {size_text(have)}")


def wait_until_ready(descriptor: int, to: Literal["read", "write"], seconds: float) -> bool:
    """Wait until an open file, pipe or terminal can be read or written without blocking.

    `select.select` refuses descriptors from 1,024 on, which processes with many inherited files
    have.

    Args:
        seconds: the longest time to wait.

    Returns:
        Whether it is ready. Also True if waiting is pointless or impossible: a pipe without a
        reader, or a kind of file that the system cannot wait for.
    """
    import select

    if not hasattr(select, "poll"):  # Windows can wait for sockets only
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN if to == "read" else select.POLLOUT)
    return bool(waiting.poll(seconds * 1000))


class Listening(io.RawIOBase):
    """A pipe or terminal for reading that does not delay signals.

    Python runs signal handlers between two instructions of the main thread. A signal that arrives
    just before the thread blocks in a read, or on another thread, would be handled after the next
    byte, possibly never. So reads wait in short intervals.

    Args:
        descriptor: open for reading.
        closefd: whether closing the stream closes the descriptor.
    """

    def __init__(self, descriptor: int, *, closefd: bool = False) -> None:
        self._descriptor = descriptor
        self._closefd = closefd

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader's own
        """Wait for some bytes; return 0 at the end."""
        while True:
            if wait_until_ready(self._descriptor, "read", PATIENCE):
                try:
                    return os.readv(self._descriptor, [buffer])
                except BlockingIOError:  # another process was faster
                    pass

    def close(self) -> None:
        if self._closefd and not self.closed:
            os.close(self._descriptor)
        super().close()


def is_there(descriptor: int) -> bool:
    """Whether reading an open file would not block.

    If the system cannot tell, only regular files count as ready.
    """
    import select

    if hasattr(select, "poll"):
        return wait_until_ready(descriptor, "read", 0)
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def user_cache_folder() -> Path:
    """Return the folder for this program's caches; it may not exist yet.

    It is ``$XDG_CACHE_HOME/cnn``, else ``~/.cache/cnn``, else (for users without a home) a folder
    for temporary files, else ``~/.cache/cnn`` unexpanded.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification says to ignore relative paths
        return Path(base) / "cnn"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home) / ".cache" / "cnn"
    import tempfile  # slow to import and rarely needed

    try:
        return Path(tempfile.gettempdir()) / "cnn"
    except OSError:
        return Path(home) / ".cache" / "cnn"


def in_memory(folder: Path, root: Path = ROOT) -> bool:
    """Whether files in `folder` are kept in memory (tmpfs), so that caching there saves none.

    Args:
        folder: an existing folder.
        root: the folder that contains ``proc``.
    """
    return _file_system(folder, root) in ("tmpfs", "ramfs")


def on_network(folder: Path, root: Path = ROOT) -> bool:
    """Whether other computers, or the host of a virtual machine, may write to `folder` without
    this system's knowledge.

    Args:
        folder: an existing folder.
        root: the folder that contains ``proc``.
    """
    kind = _file_system(folder, root)
    return kind in NETWORK or kind.startswith("fuse.")


def _file_system(folder: Path, root: Path) -> str:
    """Return the kind of file system of a folder, empty if the system does not report it."""
    real = folder.resolve()
    kinds = {mount: kind for mount, _, kind, _ in _mounts(root)}
    return next((kinds[str(each)] for each in (real, *real.parents) if str(each) in kinds), "")


def host_name() -> str:
    """Return the name of this machine."""
    import platform

    return platform.node()


def versions() -> dict[str, str]:
    """Return the versions of Python, of the installed numerical packages, and of the system."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("numpy", "pillow", "numba"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {"system": f"{platform.system()} {platform.machine()}"}


def _control_groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield version and folder of each control group with `controller`, from the process's own
    upwards.

    All their limits apply. Inside a container the path in ``/proc/self/cgroup`` may lie outside the
    mount; then the mount itself is the group.
    """
    paths = {}
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, names, path = [*line.split(":", 2), "", ""][:3]
        for name in names.split(",") if number != "0" else [""]:
            paths[name] = path
    for mount, inner, kind, options in _mounts(root):
        if kind == "cgroup2" and "" in paths:
            version, path = 2, paths[""]
        elif kind == "cgroup" and controller in options and controller in paths:
            version, path = 1, paths[controller]
        else:
            continue
        top = root / mount.lstrip("/")
        below = os.path.relpath(path, inner)
        folder = top if below.startswith("..") else top / below
        yield version, folder
        while folder != top:
            folder = folder.parent
            yield version, folder


def _mounts(root: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield mount point, mounted subfolder, file system and its options for each mount."""
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) > 4 and len(kinds) > 2:
            # Spaces in names are written as \\040.
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
            yield point, fields[3], kinds[0], kinds[2].split(",")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path) or ""
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Yield name and integer of each line such as ``MemAvailable:  1024 kB``."""
    rows = (line.split() for line in (_text(path) or "").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
