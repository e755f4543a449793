"""The lock of a run folder: one process at a time trains in it.

The operating system locks a file and releases it when the process ends, however it ends. On file
systems without locks, a file with a unique name claims the folder for a host, process and start
time. The next process deletes claims of processes that have ended; a claim from another host cannot
be checked and holds until it is deleted.
"""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnn_cli.errors import DataError, LockedError, reason
from cnn_cli.portable import (
    WINDOWS,
    NoLocksError,
    is_running,
    lock,
    open_unfollowed,
    start_of,
)
from cnn_cli.system import host_name

LOCK = ".lock"
CLAIM = ".lock-"  # prefix of the claims' file names
RULE = "another process is training into this run folder"
TRIES = 5  # two processes that begin at the same moment both retry
STEP_BACK = (0.02, 0.1)  # seconds, smallest and largest delay


class RunLock:
    """A locked run folder.

    Args:
        folder: an existing folder.

    Raises:
        LockedError: another process has locked it.
        DataError: it cannot be locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._claim: Path | None = None
        try:
            self._file = _lock(folder / LOCK)
        except NoLocksError:
            self._claim = _claim(folder)

    @property
    def files(self) -> set[str]:
        """The names of its files in the folder."""
        return {LOCK} if self._claim is None else {LOCK, self._claim.name}

    def release(self, *, delete: bool = False) -> None:
        """Release the folder.

        Args:
            delete: also delete the lock file, which is kept otherwise.
        """
        if WINDOWS and self._file is not None:  # Windows deletes no open file
            os.close(self._file)
            self._file = None
        with suppress(OSError):  # the folder itself may be gone
            if self._claim is not None:
                self._claim.unlink()
            if delete:
                (self._folder / LOCK).unlink()
                self._folder.rmdir()
        if self._file is not None:
            os.close(self._file)
        self._file = self._claim = None


def _lock(path: Path) -> int:
    """Lock the lock file; the operating system releases it when the process ends."""
    while True:
        try:
            file = open_unfollowed(path, 0o644)
        except OSError as error:
            got = "a symbolic link" if path.is_symlink() else reason(error)
            raise DataError(path, "cannot be written", got) from error
        try:
            if not lock(file):
                raise LockedError(path.parent, RULE)
        except OSError as error:
            os.close(file)
            raise DataError(path, "cannot be locked", reason(error)) from error
        except BaseException:
            os.close(file)
            raise
        if _is_still(path, file):
            return file
        os.close(file)  # its holder deleted it: another process may lock the next one


def _is_still(path: Path, file: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def _claim(folder: Path) -> Path:
    """Claim the folder for this process, unless another process has.

    Each process writes its claim first and then looks for others, so that of two at least one sees
    the other.
    """
    own = {"host": host_name(), "process": os.getpid(), "started": start_of(os.getpid())}
    other: Path | None = None
    for _ in range(TRIES):
        path = folder / f"{CLAIM}{os.getpid()}-{random.getrandbits(64):016x}"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(own))
            other = next((each for each in _claims(folder) if each.name != path.name), None)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise DataError(path, "cannot be written", reason(error)) from error
        except BaseException:  # a signal
            with suppress(OSError):
                path.unlink()
            raise
        if other is None:
            return path
        with suppress(OSError):
            path.unlink()
        time.sleep(random.uniform(*STEP_BACK))
    if other is None:
        raise LockedError(folder, RULE)
    found = _read(other)
    rule = f"{RULE}; where it has ended, delete {other.name}"
    got = None if found is None else f"process {found['process']} of {found['host']}"
    raise LockedError(folder, rule, got)


def _claims(folder: Path) -> list[Path]:
    """Return the claims on the folder; those of ended processes are deleted."""
    live = []
    for path in sorted(folder.glob(f"{CLAIM}*")):
        found = _read(path)
        if found is None and not path.exists():
            continue
        here = found is not None and found["host"] == host_name()
        if found is not None and here and not is_running(found["process"], found["started"]):
            with suppress(FileNotFoundError):
                path.unlink()
            continue
        live.append(path)
    return live


def _read(path: Path) -> dict[str, Any] | None:
    """Read a claim; None if it is gone, half-written or not a claim."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["host"], str) or not isinstance(found["started"], str | None):
            return None
        return dict(found) | {"process": int(found["process"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
