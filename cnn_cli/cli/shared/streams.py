"""Streams: stdin that does not delay signals, stdout and stderr that write everything or fail."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, BinaryIO, TextIO

from cnn_cli.errors import DataError, reason
from cnn_cli.system import PATIENCE, Listening, is_there, wait_until_ready

STDIN, STDOUT, STDERR = 0, 1, 2
Bytes = bytes | bytearray | memoryview


class Arriving(io.BufferedReader):
    """A stream that can be asked whether reading would block."""

    def waits(self) -> bool:
        """Whether `read1` would block."""
        return not is_there(self.fileno())


def listening(stream: BinaryIO) -> BinaryIO:
    """Wrap an unread stream as a `Listening` one."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # bytes in memory
        return stream
    if os.name == "nt":  # Windows can wait for sockets only
        return Arriving(io.FileIO(descriptor, closefd=False))
    return Arriving(Listening(descriptor))


class Stdout(io.RawIOBase):
    """Standard output: a write writes everything or raises.

    Nothing is buffered. The descriptor may be non-blocking, as another command of the shell can
    make it; then the writer waits for the reader.
    """

    descriptor = STDOUT

    def __init__(self, is_closed: bool) -> None:
        """Create the stream.

        Args:
            is_closed: whether the caller closed it, so that output is lost.
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
    """Standard error, which ignores a missing reader."""

    descriptor = STDERR

    def write(self, data: Bytes) -> int:  # type: ignore[override]  # typeshed's own kind
        try:
            return self._write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def prepare_streams() -> None:
    """Install `Stdout` and `Stderr`, and keep opened files from taking their descriptors.

    If the caller closed a descriptor, the next opened file would get its number. Python would also
    have no `sys.stderr`, and print errors to stdout.
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
    """Return standard error as this program writes to it, whatever `sys.stderr` is now."""
    return _text(sys.__stderr__, Stderr(is_closed=False))


def is_closed(stream: TextIO) -> bool:
    """Whether the caller had closed a stream of `prepare_streams`."""
    raw = getattr(stream, "buffer", None)
    return isinstance(raw, Stdout) and raw.is_closed


def _text(before: TextIO | None, raw: Any) -> TextIO:
    """Return a text stream that can write any name.

    Args:
        before: Python's stream, which determines the encoding; None if it was closed.
        raw: a `Stdout`, which receives the bytes.
    """
    if os.name == "nt" and isinstance(before, io.TextIOWrapper):  # consoles take text, not bytes
        before.reconfigure(errors="backslashreplace")
        return before
    # As with `python -u`: `write_through` buffers nothing.
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
