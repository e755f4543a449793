"""What this process may use: cores, memory and folders, also inside a container; whose it is."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cnn_cli import portable

ROOT = Path("/")

OPENBLAS_BYTES = 64 * 2**20
"""Of the address space that ``ulimit -v`` leaves, what is not planned with: OpenBLAS ends the
process where it can have no buffer of 32 MiB."""

_claimed = threading.Event()


def claim_process() -> None:
    """Say that this process is the program's own, not that of somebody who imported `cnn_cli`.

    Only then may settings be changed that hold for all of it, as those of other packages.
    """
    _claimed.set()


def process_is_ours() -> bool:
    """Whether the program said so, see `claim_process`."""
    return _claimed.is_set()


def cpu_count(root: Path = ROOT) -> int:
    """Cores this process may use: its affinity and its control groups' quota, rounded up.

    Args:
        root: where ``proc`` and ``sys`` are looked up.
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


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be taken without swapping or meeting a limit: of a control group, or of the
    process's address space.

    File cache that the kernel would give up does not count as used.

    Args:
        root: where ``proc`` and ``sys`` are looked up.
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
    left = portable.address_space_left()
    if left is not None:
        available = min(available, left - OPENBLAS_BYTES)
    return max(0, available)


def wait_until_ready(descriptor: int, to: Literal["read", "write"], seconds: float) -> bool:
    """Wait until an open file, a pipe or a terminal can be read from or written to at once.

    `select.select` would refuse descriptors from 1,024 on, which a program has that inherits many.

    Args:
        seconds: to wait for at most.

    Returns:
        Whether it can: also where trying is all that is left, as at a pipe without a reader, or
        where the system cannot wait for a file of that kind.
    """
    import select

    if not hasattr(select, "poll"):  # Windows: no files but sockets can be waited for
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN if to == "read" else select.POLLOUT)
    return bool(waiting.poll(seconds * 1000))


def is_there(descriptor: int) -> bool:
    """Whether reading an open file would not wait for whoever writes it.

    Where the system cannot say, that is so of files alone.
    """
    import select

    if hasattr(select, "poll"):
        return wait_until_ready(descriptor, "read", 0)
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def user_cache_folder() -> Path:
    """Where this program keeps what it can do without; it need not exist yet.

    ``$XDG_CACHE_HOME/cnn``, else ``~/.cache/cnn``, else (a user without a home) a folder for
    temporary files; where there is none that can be written to either, ``~/.cache/cnn`` as typed.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification has relative ones ignored
        return Path(base) / "cnn"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home) / ".cache" / "cnn"
    import tempfile  # slow to import, and hardly ever needed

    try:
        return Path(tempfile.gettempdir()) / "cnn"
    except OSError:
        return Path(home) / ".cache" / "cnn"


def in_memory(folder: Path, root: Path = ROOT) -> bool:
    """Whether files in `folder` lie in memory (tmpfs) and so save none.

    Args:
        folder: an existing folder.
        root: where ``proc`` is looked up.
    """
    real = folder.resolve()
    kinds = {mount: kind for mount, _, kind, _ in _mounts(root)}
    for place in (real, *real.parents):
        if str(place) in kinds:
            return kinds[str(place)] in ("tmpfs", "ramfs")
    return False


def versions() -> dict[str, str]:
    """Of Python, of the packages that compute, as far as they are installed, and of the system."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("numpy", "pillow", "numba"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {"system": f"{platform.system()} {platform.machine()}"}


def _control_groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of every group, from the process's own upwards, that has `controller`.

    The limits of all of them hold. Inside a container the path that ``/proc/self/cgroup`` gives
    may lie outside what is mounted; then the mount itself is the group.
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
    """Mount point, mounted sub-folder, file system and its options of every mount."""
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) > 4 and len(kinds) > 2:
            # A space in a name is written \\040.
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
    """Name and whole number of every line such as ``MemAvailable:  1024 kB``."""
    rows = (line.split() for line in (_text(path) or "").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
