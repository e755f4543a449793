"""Threads that never keep the program from ending, and what happens where none can be started."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from cnn_cli.portable import address_space_left

ROOM = 256 * 2**20
"""Bytes of address space that must be left for a thread to be started, where that is limited: its
stack takes 8 MiB, its heap 64 MiB, and what it computes needs some as well."""

BLAS_THREADS = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
"""What BLAS libraries read once, when NumPy is imported. OpenBLAS would start threads that the
engine, which has its own, never uses; those of macOS's Accelerate are not limited later."""

_refused: list[str] = []
_told: list[bool] = []


def tell_blas() -> None:
    """Have BLAS start with one thread, unless the user says otherwise; before NumPy is imported."""
    for name, count in BLAS_THREADS.items():
        os.environ.setdefault(name, count)
    own = {name: os.environ[name] for name in BLAS_THREADS}
    _told.append(own == BLAS_THREADS and "numpy" not in sys.modules)


def blas_was_told() -> bool:
    """Whether BLAS has started with one thread, as far as it keeps to `BLAS_THREADS`."""
    return any(_told)


def start_thread(target: Callable[..., object], args: tuple[object, ...], name: str) -> bool:
    """Start a daemon thread that calls ``target(*args)``.

    Returns:
        Whether the system lets it, which may limit processes and address space. Where not, whoever
        asks does the work on the threads there are.
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
    """Whether a thread could not be started since this was last asked."""
    found = bool(_refused)
    _refused.clear()
    return found
