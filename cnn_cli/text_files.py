"""Text files as editors write them: one reader for configs, lists, class names and maps.

They are UTF-8 with or without a byte order mark, or UTF-16 with one, as Windows' editors write;
a line ends with LF, CR LF, or CR alone.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from cnn_cli.errors import CnnError, DataError, reason

BLOCK = 2**16
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LINE_END = re.compile(rb"\r\n|\r|\n")


def read_text(path: Path, most: int, error: type[CnnError] = DataError) -> str:
    """All of a text file, without a byte order mark, with its lines ended by LF.

    Args:
        path: the file.
        most: bytes that it may have.
        error: what is raised.

    Raises:
        CnnError: an `error`: the file cannot be read, is too long, or is no text.
    """
    try:
        with path.open("rb") as file:
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
    """The lines of a stream as they come in, without their ends; None as in `read_blocks`.

    They are the bytes that stand there, so that names which are no UTF-8 stay what they are;
    UTF-16 is given as UTF-8.

    Args:
        stream: nothing of it has been read.
        most: bytes that a line may have.
        rule: the error where one has more.

    Raises:
        CnnError: `rule`.
        UnicodeDecodeError: it began as UTF-16, and is none.
    """
    rest, in_end = b"", False
    for block in _as_utf8(read_blocks(stream)):
        if block is None:
            yield None
            continue
        new = block.removeprefix(b"\n") if in_end else block
        in_end = block.endswith(b"\r")  # whose LF may be still to come
        *lines, rest = _LINE_END.split(rest + new)
        yield from lines
        if len(rest) >= most:
            raise rule
    if rest:
        yield rest


def read_blocks(stream: BinaryIO, size: int = BLOCK) -> Iterator[bytes | None]:
    """The bytes of a stream as they come in; None before each read that would wait for more.

    Args:
        stream: its method `waits`, if it has one, says whether a read would.
        size: of a block, at most.
    """
    read = getattr(stream, "read1", stream.read)  # what is there, without waiting for more
    waits = getattr(stream, "waits", bool)
    while True:
        if waits():
            yield None
        if not (block := read(size)):
            return
        yield block


def _as_utf8(blocks: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The bytes after a byte order mark, of which none is held back once it is known."""
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


def _mark(content: bytes) -> bytes:
    return next((mark for mark in _ENCODINGS if content.startswith(mark)), b"")
