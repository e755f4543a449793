"""What `predict` is to read: files, folders, patterns and lists, taken one at a time."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cnn_cli.data.archive import archive_of, is_archive, names_below
from cnn_cli.data.decode import ImageError, read_stream
from cnn_cli.data.folder import is_image_name, walk_images
from cnn_cli.data.listing import Other, ending
from cnn_cli.errors import DataError
from cnn_cli.text_files import read_blocks, read_lines

BLOCK = 2**16
MOST_PATH = 2**20  # bytes

Entry = tuple[str, str | bytes | ImageError]


def expand_sources(
    sources: Iterable[str],
    stdin: BinaryIO | None = None,
    left_out: Counter[str] | None = None,
    *,
    arrays: bool = False,
) -> Iterator[Entry]:
    """The images that `sources` stand for, in their order.

    A folder, an archive, or a folder in one gives the images below it, sorted by name; hidden
    entries and files without an image extension are passed over. A pattern (``*``, ``?``, ``[…]``,
    ``**``) counts as one where no file has that very name, and what it matches is taken as if it
    had been typed.

    Args:
        sources: paths and patterns.
        stdin: where ``-`` reads an image from; without it, ``-`` is a file name.
        left_out: counts the files that are passed over, by what their names end with.
        arrays: NumPy's files in a folder are images; one that is named itself always is.

    Yields:
        The path as typed, joined with the name below it, and what `load_image` is to read, or
        the error of a source that is not there, holds no image, or cannot be read.
    """
    left_out = Counter() if left_out is None else left_out
    for source in sources:
        if source == "-" and stdin is not None:
            yield source, _from_stdin(stdin)
        elif (
            os.path.lexists(source) or not glob.has_magic(source) or archive_of(source) is not None
        ):
            yield from _expand(source, left_out, arrays)
        else:
            matches = sorted(glob.glob(source, recursive=True))
            for match in matches:
                yield from _expand(match, left_out, arrays)
            if not matches:
                yield source, ImageError(source, "matches no file")


def holds_images(source: str) -> bool:
    """Whether a source may stand for more than one image."""
    return os.path.isdir(source) or is_archive(source)


def _from_stdin(stdin: BinaryIO) -> bytes | ImageError:
    try:
        return read_stream(stdin, "-")
    except ImageError as error:
        return error.unraised()  # the frame of `read_stream` holds what was read


def _expand(path: str, left_out: Counter[str], arrays: bool) -> Iterator[Entry]:
    def other(path: str) -> None:
        left_out[ending(path)] += 1

    if not os.path.isdir(path):
        yield from _expand_archive(path, other, arrays)
        return
    problems: list[DataError] = []
    empty = True
    for image in walk_images(path, problems.append, other, arrays=arrays):
        yield from reported(problems)
        yield image, image
        empty = False
    empty = empty and not problems
    yield from reported(problems)
    if empty:
        yield path, ImageError(path, "holds no image")


def _expand_archive(path: str, on_other: Other, arrays: bool) -> Iterator[Entry]:
    """The images of an archive, or of a folder in one, or the one image that a path is of."""
    try:
        names = names_below(path)
    except DataError as error:
        yield path, ImageError(error.place, error.rule, error.got)
        return
    if names is None:
        yield path, path  # one that is not there is reported where it is read
        return
    empty = True
    for name in names:
        if is_image_name(name, arrays):
            yield name, name
            empty = False
        else:
            on_other(name)
    if empty:
        yield path, ImageError(path, "holds no image")


def reported(problems: list[DataError]) -> Iterator[Entry]:
    """Folders that cannot be read, as entries; none of them is left in the list."""
    while problems:
        problem = problems.pop(0)
        yield problem.place, ImageError(problem.place, problem.rule, problem.got)


def expand_list(stream: BinaryIO, nul: bool, *, arrays: bool = False) -> Iterator[Entry | None]:
    """What the paths of a list stand for, as they come in; None, errors and arguments as in
    `read_list` and `expand_sources`.
    """
    for path in read_list(stream, nul):
        if path is None:
            yield None
        else:
            yield from expand_sources([path], arrays=arrays)


def read_list(stream: BinaryIO, nul: bool) -> Iterator[str | None]:
    """Paths of a list, as they come in; empty ones are left out.

    None says that whoever writes the list has to be waited for, so that what has come can be
    answered; see `text_files.read_blocks`.

    A line's path is all that stands on it. Where no file has that very name, blanks at its end are
    no part of it, as editors and spreadsheets leave them there.

    Args:
        stream: bytes; those that are no UTF-8 come back unchanged when the path is used.
        nul: whether paths end with a NUL byte, as ``find -print0`` writes them, rather than with
            a line end of any kind. Then nothing but the NUL is taken off.

    Raises:
        DataError: one has no end, or none near enough; or the list is UTF-16 and damaged.
    """
    rule = DataError("--from-file", f"must hold paths of less than {MOST_PATH:,} bytes")
    if not nul:
        try:
            for line in read_lines(stream, MOST_PATH, rule):
                if line is None:
                    yield None
                elif path := _path(os.fsdecode(line)):
                    yield path
        except UnicodeDecodeError as error:
            raise DataError("--from-file", "must be UTF-8 text, or UTF-16") from error
        return
    rest = b""
    for block in read_blocks(stream, BLOCK):
        if block is None:
            yield None
            continue
        *paths, rest = (rest + block).split(b"\0")
        if len(rest) >= MOST_PATH:
            raise rule
        yield from (os.fsdecode(path) for path in paths if path)
    if rest:
        yield os.fsdecode(rest)


def _path(line: str) -> str:
    path = line.rstrip(" \t")
    return line if path != line and os.path.lexists(line) else path
