"""Options of `cnn predict` that have something done with its answers: --sort-into and --append."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnn_cli.errors import UsageError
from cnn_cli.inference.acting import Acting
from cnn_cli.inference.appending import SUFFIXES, Appended
from cnn_cli.inference.formats import Columns, make_format
from cnn_cli.inference.sorting import How, Sorter


@dataclass(frozen=True, slots=True)
class Acts:
    """What is to be done.

    Attributes:
        folder: that pictures are sorted into.
        how: that is done.
        file: that rows are appended to.
        dry: whether it is only told.
        is_walked: see `Acting`.
    """

    folder: Path | None
    how: How
    file: Path | None
    dry: bool
    is_walked: bool

    @property
    def is_told(self) -> bool:
        """Whether answers go where they go otherwise, too."""
        return self.file is None or self.dry


def check_acts(
    folder: Path | None,
    ways: dict[How, bool],
    file: Path | None,
    dry: bool,
    sources: Sequence[str],
    output_file: Path | None,
    format_name: str | None,
) -> Acts:
    """Refuse what contradicts itself.

    Args:
        folder, file, dry: see `Acts`.
        ways: to sort, and whether they are asked for.
        sources: files and folders that are looked through.
        output_file: of --output.
        format_name: that was asked for.
    """
    given = [way for way, is_given in ways.items() if is_given]
    if given and folder is None:
        raise UsageError(f"--{given[0]}", "goes with --sort-into DIR")
    if len(given) > 1:
        raise UsageError(f"--{given[0]}", "is another way to sort", f"--{given[1]} as well")
    if dry and folder is None and file is None:
        raise UsageError("--dry-run", "goes with --sort-into or --append")
    if file is not None:
        _check_append(file, output_file, format_name)
    is_walked = False
    if folder is not None:
        if "-" in sources:
            raise UsageError("--sort-into", "takes files", "-, an image on stdin")
        inside = os.path.realpath(folder) + os.sep
        places = [os.path.realpath(each) + os.sep for each in filter(os.path.isdir, sources)]
        if inside in places:
            raise UsageError("--sort-into", "must be another folder than what is sorted", folder)
        # Who names the folder of a class means the pictures in it.
        is_walked = bool(places) and not any(place.startswith(inside) for place in places)
    return Acts(folder, given[0] if given else "copy", file, dry, is_walked)


def _check_append(file: Path, output_file: Path | None, format_name: str | None) -> None:
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError("--append", f"must be a {' or '.join(SUFFIXES)} file", repr(str(file)))
    if output_file is not None:
        raise UsageError("--append", "replaces --output", "both")
    name = file_format(file)
    if format_name not in (None, name):
        raise UsageError("--append", f"says the format, {name}", f"--format {format_name} as well")


def file_format(file: Path) -> str:
    """The format of a file that is appended to, by its name."""
    return file.suffix.lower().removeprefix(".")


@contextmanager
def opened(
    acts: Acts, columns: Columns, classes: Sequence[str], say: Callable[[str], object]
) -> Iterator[Acting]:
    """What does it; `say` is told why an image stays where it is."""
    with ExitStack() as stack:
        appended = None
        if acts.file is not None:
            lines = make_format(file_format(acts.file), columns)
            appended = stack.enter_context(Appended(acts.file, lines, classes, acts.dry))
        sorter = None if acts.folder is None else Sorter(acts.folder, acts.how, acts.dry)
        yield Acting(appended, sorter, acts.is_walked, lambda error: say(f"cnn: {error.line()}"))
