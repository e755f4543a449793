"""The one reader of text files: configs, lists, class names and label maps.

It accepts UTF-8 with or without a byte order mark and UTF-16 with one, as Windows editors write;
lines end with LF, CR LF or CR.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from cnn_cli.errors import CnnError, DataError, reason
from cnn_cli.system import Listening

BLOCK = 2**16
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LINE_END = re.compile(rb"\r\n|\r|\n")


def read_text(path: Path, most: int, error: type[CnnError] = DataError) -> str:
    """Read a text file without its byte order mark, with all line ends converted to LF.

    Args:
        path: the file.
        most: the largest size in bytes.
        error: the class of the errors raised.

    Raises:
        CnnError: an `error`: the file cannot be read, is too long, or is not text.
    """
    try:
        with _open(path) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise error(path, f"must be at most {most:,} bytes")
        mark = _mark(content)
        text = content[len(mark) :].decode(_ENCODINGS.get(mark, "utf-8"))
    except UnicodeDecodeError as problem:
        raise error(path, "must be UTF-8 text") from problem
    except (OSError, ValueError) as problem:
        raise error(path, "cannot be read", reason(problem)) from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(stream: BinaryIO, most: int, rule: CnnError) -> Iterator[bytes | None]:
    """Yield the lines of a stream as they arrive, without line ends; None as in `read_blocks`.

    Lines are bytes, so that file names that are not UTF-8 stay intact. UTF-16 is converted to
    UTF-8.

    Args:
        stream: an unread stream.
        most: the largest length of a line in bytes.
        rule: the error for a longer line.

    Raises:
        CnnError: `rule`.
        UnicodeDecodeError: the stream began as UTF-16 but is not valid UTF-16.
    """
    rest, in_end = b"", False
    for block in _as_utf8(read_blocks(stream)):
        if block is None:
            yield None
            continue
        new = block.removeprefix(b"\n") if in_end else block
        in_end = block.endswith(b"\r")  # its LF may be in the next block
        *lines, rest = _LINE_END.split(rest + new)
        yield from lines
        if len(rest) >= most:
            raise rule
    if rest:
        yield rest


def read_blocks(stream: BinaryIO, size: int = BLOCK) -> Iterator[bytes | None]:
    """Yield blocks of a stream as they arrive; None before each read that would block.

    Args:
        stream: its method `waits`, if it has one, tells whether a read would block.
        size: the largest block in bytes.
    """
    # Returns what is available, without waiting for more.
    read = getattr(stream, "read1", stream.read)
    waits = getattr(stream, "waits", bool)
    while True:
        if waits():
            yield None
        if not (block := read(size)):
            return
        yield block


def _as_utf8(blocks: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """Convert blocks to UTF-8, without the byte order mark; once it is known, no byte is held
    back.
    """
    head = b""
    for block in blocks:
        if block is None:
            yield None
            continue
        head += block
        if not any(mark != head and mark.startswith(head) for mark in _ENCODINGS):
            break
    mark = _mark(head)
    rest: Iterable[bytes | None] = chain([head[len(mark) :]], blocks)
    if _ENCODINGS.get(mark, "utf-8") == "utf-8":
        yield from (block for block in rest if block != b"")
        return
    decoder = codecs.getincrementaldecoder(_ENCODINGS[mark])()
    for block in rest:
        if block is None:
            yield None
        elif text := decoder.decode(block):
            yield text.encode()
    decoder.decode(b"", final=True)


def _open(path: Path) -> BinaryIO:
    """Open a file, a pipe so that neither opening nor reading it delays signals."""
    if not path.is_fifo():
        return path.open("rb")
    # The first read waits for a writer.
    return io.BufferedReader(Listening(os.open(path, os.O_RDONLY | os.O_NONBLOCK), closefd=True))


def _mark(content: bytes) -> bytes:
    return next((mark for mark in _ENCODINGS if content.startswith(mark)), b"")
