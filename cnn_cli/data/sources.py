"""The inputs of `predict`: files, folders, patterns and lists, read one at a time."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from cnn_cli.data.archive import archive_of, is_archive, names_below
from cnn_cli.data.decode import read_stream
from cnn_cli.data.folder import is_image_name, walk_folders, walk_images
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.listing import Other, ending, left_out_text
from cnn_cli.errors import DataError
from cnn_cli.text_files import read_blocks, read_lines

BLOCK = 2**16
MOST_PATH = 2**20  # bytes
_ENDS = f"{re.escape(os.sep)}/"  # of a folder's name
_ANY_FOLDERS = re.compile(rf"(?<![^{_ENDS}])\*\*(?:[{_ENDS}]+\*\*)*([{_ENDS}]+|\Z)")

Entry = tuple[str, str | bytes | ImageError]


def expand_sources(
    sources: Iterable[str],
    stdin: BinaryIO | None = None,
    left_out: Counter[str] | None = None,
    *,
    arrays: bool = False,
) -> Iterator[Entry]:
    """Yield the images that `sources` refer to, in order.

    A folder, an archive or a folder in one gives the images below it, sorted by name; hidden
    entries and files without an image extension are skipped. A pattern (``*``, ``?``, ``[…]``,
    ``**``) is expanded only if no file has that name; what is in a folder that it matches counts
    once.

    Args:
        sources: paths and patterns.
        stdin: where ``-`` reads an image from; without it, ``-`` is a file name.
        left_out: counts the skipped files by extension.
        arrays: `.npy` files in a folder count as images; those named directly always do.

    Yields:
        The path as typed, joined with the name below it, and the source for `load_image`, or an
        error if it does not exist, contains no image, or cannot be read.
    """
    left_out = Counter() if left_out is None else left_out
    for source in sources:
        if source == "-" and stdin is not None:
            yield source, _from_stdin(stdin)
        elif not _is_pattern(source):
            yield from _expand(source, left_out, arrays)
        else:
            matches = _matches(source)
            for match in matches:
                yield from _expand(match, left_out, arrays)
            if not matches:
                yield source, ImageError(source, "matches no file")


def expand_all(
    sources: Iterable[str], note: Callable[[str], object], *, arrays: bool = False
) -> Iterator[Entry]:
    """Yield as `expand_sources`, and at the end note how many files were skipped.

    Args:
        sources, arrays: as there; ``-`` is a file name.
        note: called with a text, if there were any.
    """
    left_out: Counter[str] = Counter()
    yield from expand_sources(sources, left_out=left_out, arrays=arrays)
    if left_out:
        note(left_out_text(left_out))


def holds_images(source: str) -> bool:
    """Whether a source may contain more than one image."""
    return (
        os.path.isdir(source)
        or is_archive(source)
        or archive_of(source) is not None
        or _is_pattern(source)
    )


def _is_pattern(source: str) -> bool:
    return glob.has_magic(source) and not os.path.lexists(source) and archive_of(source) is None


def _matches(pattern: str) -> list[str]:
    """Return the sorted matches of a pattern, without those in a folder that it also matches."""
    matches = sorted(set(_glob(pattern)))
    folders = {match.rstrip(os.sep) for match in matches if os.path.isdir(match)}
    return [match for match in matches if folders.isdisjoint(_folders_above(match))]


def _glob(pattern: str) -> Iterator[str]:
    """Yield what `glob.glob` does with `recursive`, which would follow loops of links: below a
    ``**``, each folder is entered once. What is in a folder that matches is left out.
    """
    found = _ANY_FOLDERS.search(pattern)
    if found is None:
        yield from glob.iglob(pattern)
        return
    above, below = pattern[: found.start()], pattern[found.end() :]
    for top in glob.iglob(above) if above else [""]:
        if not below:
            yield from [top] if top else glob.iglob(f"*{found[1]}")
            continue
        for folder in walk_folders(top):
            yield from _glob(glob.escape(folder) + below)


def _folders_above(path: str) -> Iterator[str]:
    path = path.rstrip(os.sep)
    while (above := os.path.dirname(path)) not in ("", path):
        yield above
        path = above


def _from_stdin(stdin: BinaryIO) -> bytes | ImageError:
    try:
        return read_stream(stdin, "-")
    except ImageError as error:
        return error.unraised()  # the frame of `read_stream` refers to the data


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
    """Yield the images of an archive or of a folder in one, or the one image of the path."""
    try:
        names = names_below(path)
    except DataError as error:
        yield path, ImageError(error.place, error.rule, error.got)
        return
    if names is None:
        yield path, path  # if it does not exist, reading it reports that
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
    """Yield the errors of unreadable folders as entries, and empty the list."""
    while problems:
        problem = problems.pop(0)
        yield problem.place, ImageError(problem.place, problem.rule, problem.got)


def expand_list(
    stream: BinaryIO, nul: bool, left_out: Counter[str] | None = None, *, arrays: bool = False
) -> Iterator[Entry | None]:
    """Yield the images of a list of paths as it arrives; None, errors and arguments as in
    `read_list` and `expand_sources`.
    """
    for path in read_list(stream, nul):
        if path is None:
            yield None
        else:
            yield from expand_sources([path], left_out=left_out, arrays=arrays)


def read_list(stream: BinaryIO, nul: bool) -> Iterator[str | None]:
    """Yield the paths of a list as they arrive; empty ones are left out.

    None means that the next path is not there yet, so that results can be written meanwhile; see
    `text_files.read_blocks`.

    A path is the whole line. If no file has that name, trailing blanks are removed, which editors
    and spreadsheets leave.

    Args:
        stream: bytes; those that are not UTF-8 are preserved in the paths.
        nul: whether paths end with a NUL byte, as ``find -print0`` writes them, rather than with a
            line end. Then only the NUL is removed.

    Raises:
        DataError: a path is too long, or the list is damaged UTF-16.
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
