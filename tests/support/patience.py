"""The longest time that a test waits: a guard against hangs on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 900.0  # seconds


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
