"""Streams that wait: stdin, of which no signal is missed, stdout and stderr, which are whole."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, BinaryIO, TextIO

from cnn_cli.errors import DataError, reason
from cnn_cli.system import is_there, wait_until_ready

PATIENCE = 0.1  # seconds
STDIN, STDOUT, STDERR = 0, 1, 2
Bytes = bytes | bytearray | memoryview


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

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader's own
        """Wait for some bytes; 0 at the end."""
        while True:
            if wait_until_ready(self._descriptor, "read", PATIENCE):
                try:
                    return os.readv(self._descriptor, [buffer])
                except BlockingIOError:  # another process was quicker
                    pass


class Arriving(io.BufferedReader):
    """A stream that can be asked whether somebody has yet to write what is read next."""

    def waits(self) -> bool:
        """Whether `read1` would wait."""
        return not is_there(self.fileno())


def listening(stream: BinaryIO) -> BinaryIO:
    """The same bytes, for a stream of which none has been read yet."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # bytes in memory
        return stream
    if os.name == "nt":  # where nothing but sockets can be waited for
        return Arriving(io.FileIO(descriptor, closefd=False))
    return Arriving(Listening(descriptor))


class Stdout(io.RawIOBase):
    """Standard output: what is written is written whole, or there is an error.

    Nothing is kept for later. The descriptor may be one that does not block, as a shell's other
    commands can make it: then the writer waits for the reader, as it does elsewhere.
    """

    descriptor = STDOUT

    def __init__(self, is_closed: bool) -> None:
        """
        Args:
            is_closed: whether the caller had closed it, so that nobody gets what is written.
        """
        self.is_closed = is_closed

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Bytes) -> int:  # type: ignore[override]  # typeshed's own kind
        """Write all bytes.

        Raises:
            BrokenPipeError: the reader is gone.
            DataError: it cannot be written for another reason.
        """
        try:
            return self._write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise DataError("stdout", "cannot be written", reason(error)) from error

    def _write(self, data: Bytes) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        if size and self.is_closed:
            raise OSError(errno.EBADF, "a closed stream")
        while rest:
            try:
                rest = rest[os.write(self.descriptor, rest) :]
            except BlockingIOError:
                wait_until_ready(self.descriptor, "write", PATIENCE)
        return size


class Stderr(Stdout):
    """Standard error, in the same way; nobody there to read it is no reason to stop."""

    descriptor = STDERR

    def write(self, data: Bytes) -> int:  # type: ignore[override]  # typeshed's own kind
        try:
            return self._write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def prepare_streams() -> None:
    """Make stdout and stderr whole, and keep what the program opens from taking their place.

    Of a descriptor that the caller has closed, the next file that is opened gets the number. And
    Python has no `sys.stderr` then, and prints to stdout what was meant for it.
    """
    closed = [number for number in (STDIN, STDOUT, STDERR) if not _is_open(number)]
    for number in closed:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)
    sys.stdout = _text(sys.stdout, Stdout(STDOUT in closed))
    sys.stderr = stderr()


def stderr() -> TextIO:
    """Standard error as this program writes to it, whatever `sys.stderr` is now."""
    return _text(sys.__stderr__, Stderr(is_closed=False))


def is_closed(stream: TextIO) -> bool:
    """Whether the caller had closed a stream of `prepare_streams`."""
    raw = getattr(stream, "buffer", None)
    return isinstance(raw, Stdout) and raw.is_closed


def _text(before: TextIO | None, raw: Any) -> TextIO:
    """A stream for text, in which no name can keep a line from being written.

    Args:
        before: Python's own, which says how characters are encoded; None where it was closed.
        raw: a `Stdout`, which takes the bytes.
    """
    if os.name == "nt" and isinstance(before, io.TextIOWrapper):  # a console takes no bytes
        before.reconfigure(errors="backslashreplace")
        return before
    # As `python -u` does it: `write_through` keeps nothing back.
    return io.TextIOWrapper(
        raw,
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
