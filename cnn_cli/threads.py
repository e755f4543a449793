"""Threads that never keep the process alive, and the fallback if none can be started."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from cnn_cli.portable import address_space_left

ROOM = 256 * 2**20
"""Bytes of address space that must be free to start a thread, if the address space is limited: 8
MiB for its stack, 64 MiB for its heap, and some for its work.
"""

BLAS_THREADS = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
"""Environment variables that BLAS libraries read once, when NumPy is imported. OpenBLAS would start
threads that the engine, which has its own, never uses; Accelerate on macOS cannot be limited later.
"""

_refused: list[str] = []
_told: list[bool] = []


def tell_blas() -> None:
    """Make BLAS start with one thread, unless the user set a number; call this before importing
    NumPy.
    """
    for name, count in BLAS_THREADS.items():
        os.environ.setdefault(name, count)
    own = {name: os.environ[name] for name in BLAS_THREADS}
    _told.append(own == BLAS_THREADS and "numpy" not in sys.modules)


def blas_was_told() -> bool:
    """Whether BLAS was started with one thread, as far as it honors `BLAS_THREADS`."""
    return any(_told)


def start_thread(target: Callable[..., object], args: tuple[object, ...], name: str) -> bool:
    """Start a daemon thread that calls ``target(*args)``.

    Returns:
        Whether the thread was started; limits on processes or address space may forbid it. If not,
        the caller does the work on existing threads.
    """
    left = address_space_left()
    if left is None or left >= ROOM:
        try:
            threading.Thread(target=target, args=args, name=name, daemon=True).start()
        except (RuntimeError, MemoryError, OSError):
            pass
        else:
            return True
    _refused.append(name)
    return False


def take_refused() -> bool:
    """Return whether a thread could not be started since the last call of this function."""
    found = bool(_refused)
    _refused.clear()
    return found
