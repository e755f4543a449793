"""Reading what somebody else is still writing, and answering signals meanwhile."""

from __future__ import annotations

import io
import os
import select
from typing import BinaryIO

PATIENCE = 0.1  # seconds


class Listening(io.RawIOBase):
    """A pipe or terminal whose readers never miss a signal.

    Python runs a signal's handler between two instructions of the main thread. One that comes
    after the last of them but before the thread sleeps in a read, or that the system gives to
    another thread, would be answered when the next byte comes, which may be never. So the read
    waits for no longer than it takes to look.

    Args:
        descriptor: open for reading; it stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader's own
        """Wait for some bytes; 0 at the end."""
        while not select.select([self._descriptor], [], [], PATIENCE)[0]:
            pass
        return os.readv(self._descriptor, [buffer])


def listening(stream: BinaryIO) -> BinaryIO:
    """The same bytes, for a stream of which none has been read yet."""
    if os.name == "nt":  # where nothing but sockets can be waited for
        return stream
    try:
        return io.BufferedReader(Listening(stream.fileno()))
    except io.UnsupportedOperation:  # bytes in memory
        return stream
