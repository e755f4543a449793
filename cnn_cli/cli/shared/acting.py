"""The options of `cnn predict` that act on predictions: --sort-into and --append."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnn_cli.errors import UsageError
from cnn_cli.inference.acting import Acting
from cnn_cli.inference.appending import Appended
from cnn_cli.inference.prediction_formats import Columns, make_format
from cnn_cli.inference.sorting import How, Sorter


@dataclass(frozen=True, slots=True)
class Acts:
    """What to do with predictions.

    Attributes:
        folder: the folder into which images are sorted.
        how: copy, link or move.
        file: the file to which rows are appended.
        dry: only print what would be done.
        is_walked: see `Acting`.
    """

    folder: Path | None
    how: How
    file: Path | None
    dry: bool
    is_walked: bool

    @property
    def is_told(self) -> bool:
        """Whether predictions are also printed as usual."""
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
    """Refuse options that contradict each other.

    Args:
        folder, file, dry: see `Acts`.
        ways: whether each way to sort was requested.
        sources: files and folders to read.
        output_file: the value of --output.
        format_name: the requested format.
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
        # A source inside a class's folder means the images in it.
        is_walked = bool(places) and not any(place.startswith(inside) for place in places)
    return Acts(folder, given[0] if given else "copy", file, dry, is_walked)


def _check_append(file: Path, output_file: Path | None, format_name: str | None) -> None:
    if output_file is not None:
        raise UsageError("--append", "replaces --output", "both")
    name = file_format(file)
    if format_name not in (None, name):
        raise UsageError("--append", f"says the format, {name}", f"--format {format_name} as well")


def file_format(file: Path) -> str:
    """Return the format of a file to append to, by its extension."""
    return file.suffix.lower().removeprefix(".")


@contextmanager
def opened(
    acts: Acts, columns: Columns, classes: Sequence[str], say: Callable[[str], object]
) -> Iterator[Acting]:
    """Create an `Acting`; `say` receives the reasons why images stay in place."""
    with ExitStack() as stack:
        appended = None
        if acts.file is not None:
            lines = make_format(file_format(acts.file), columns)
            appended = stack.enter_context(Appended(acts.file, lines, classes, acts.dry))
        sorter = None if acts.folder is None else Sorter(acts.folder, acts.how, acts.dry)
        yield Acting(appended, sorter, acts.is_walked, lambda error: say(f"cnn: {error.line()}"))
