"""Output of the program: results on stdout, everything else on stderr, files atomically."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cnn_cli import strict_json
from cnn_cli.cli.shared.streams import is_closed
from cnn_cli.errors import DataError, printable, reason
from cnn_cli.files import STDOUT, descriptor_of, refusal, remove_stale_temporaries

USUAL_SIZE = (80, 24)
"""Columns and lines assumed for a terminal of unknown size."""


def write(text: str) -> None:
    """Write a result to stdout, unchanged and completely; it may end within a line.

    The text must already be safe for a terminal; `write_lines` ensures that.

    Raises:
        BrokenPipeError: the reader is gone.
        DataError: stdout cannot be written for another reason.
    """
    sys.stdout.write(text)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, with any names in them made safe; errors as in `write`."""
    write("".join(f"{printable(line)}\n" for line in lines))


def write_json(value: Any) -> None:
    """Write a value to stdout as one line of JSON; errors as in `write`."""
    write(strict_json.dumps(value) + "\n")


def say(text: str) -> None:
    """Write one line to stderr; a missing reader is ignored."""
    sys.stderr.write(printable(text) + "\n")


def terminal_size() -> os.terminal_size | None:
    """Return columns and lines of stdout's terminal; None if it is not a terminal.

    Some terminals, such as serial lines and containers, report 0 for unknown sizes.
    """
    try:
        if not sys.stdout.isatty():
            return None
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return os.terminal_size((size.columns or USUAL_SIZE[0], size.lines or USUAL_SIZE[1]))


def note(text: str) -> None:
    """Write a note to stderr."""
    say(f"cnn: {text}")


class Progress:
    """Progress of a command; this base class passes messages on and draws nothing.

    `bars.Drawn` draws a bar.
    """

    def add(self, number: int = 1) -> None:
        """Report that `number` more are done."""

    def reach(self, done: int, total: int) -> None:
        """Report that `done` of `total` are done."""

    def title(self, title: str) -> None:
        """Set the title."""

    def say(self, text: str) -> None:
        """Like `say`, without breaking the bar."""
        say(text)

    def note(self, text: str) -> None:
        """Like `note`, without breaking the bar."""
        note(text)


def write_about(path: Path, text: str) -> None:
    """Write facts about a written file to stdout, or to stderr if stdout is that file."""
    if descriptor_of(path) == STDOUT:
        for line in text.splitlines():
            say(line)
    else:
        write(text)


def check_output(path: Path) -> None:
    """Check early that a file can be written, without changing it.

    Deletes what killed processes left half-written beside it.

    Raises:
        DataError: it is a folder, or its folder is missing or not writable.
    """
    rule = "cannot be written"
    descriptor = descriptor_of(path)
    if descriptor is not None:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise DataError(path, rule, reason(error)) from error
        if descriptor == STDOUT and is_closed(sys.stdout):
            raise DataError(path, rule, "a closed stream")
        return
    try:
        mode = os.stat(path).st_mode
    except OSError:
        folder = os.path.dirname(os.path.realpath(path))
    else:
        if stat.S_ISDIR(mode):
            raise DataError(path, rule, "a folder")
        # A file is replaced by a new one; a device or pipe is written directly.
        folder = os.path.dirname(os.path.realpath(path)) if stat.S_ISREG(mode) else str(path)
    if not os.path.exists(folder):
        raise DataError(path, rule, "no such folder")
    problem = refusal(folder)
    if problem is not None:
        raise DataError(path, rule, reason(problem))
    remove_stale_temporaries(folder)
