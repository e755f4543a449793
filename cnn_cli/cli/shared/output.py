"""What the program writes: results on stdout, all else on stderr, files in one step."""

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
from cnn_cli.files import STDOUT, descriptor_of, remove_stale_temporaries

USUAL_SIZE = (80, 24)
"""Columns and lines of a terminal that does not say how large it is."""


def write(text: str) -> None:
    """Put a result, which may end anywhere within a line, on stdout, all of it and as it is.

    What is in it is safe for a terminal already; `write_lines` makes it so.

    Raises:
        BrokenPipeError: the reader is gone.
        DataError: stdout cannot be written for another reason.
    """
    sys.stdout.write(text)


def write_lines(lines: Iterable[str]) -> None:
    """Put lines for people on stdout, whatever names are in them; errors as in `write`."""
    write("".join(f"{printable(line)}\n" for line in lines))


def write_json(value: Any) -> None:
    """Put a value on stdout as one line of JSON; errors as in `write`."""
    write(strict_json.dumps(value) + "\n")


def say(text: str) -> None:
    """One line on stderr. Nobody there to read it is no reason to stop."""
    sys.stderr.write(printable(text) + "\n")


def terminal_size() -> os.terminal_size | None:
    """Columns and lines of the terminal that stdout is; None where it is none.

    Some terminals, as those of serial lines and containers, say 0 for what they do not know.
    """
    try:
        if not sys.stdout.isatty():
            return None
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return None
    return os.terminal_size((size.columns or USUAL_SIZE[0], size.lines or USUAL_SIZE[1]))


def note(text: str) -> None:
    """What the user may want to know, that is no error, on stderr."""
    say(f"cnn: {text}")


class Progress:
    """What a command tells while it works; this one passes messages on and draws nothing.

    `bars.Drawn` draws a bar.
    """

    def add(self, number: int = 1) -> None:
        """So many more are done."""

    def reach(self, done: int, total: int) -> None:
        """So many are done, of so many."""

    def title(self, title: str) -> None:
        """What is done from now on."""

    def say(self, text: str) -> None:
        """As `say`, without tearing what is drawn."""
        say(text)

    def note(self, text: str) -> None:
        """As `note`, without tearing what is drawn."""
        note(text)


def write_about(path: Path, text: str) -> None:
    """Put what was found about a file that was written on stdout, or where that is the file itself,
    on stderr.
    """
    if descriptor_of(path) == STDOUT:
        for line in text.splitlines():
            say(line)
    else:
        write(text)


def check_output(path: Path) -> None:
    """Say early what would keep a file from being written; no file of others is changed.

    What a killed process left half-written beside it is deleted.

    Raises:
        DataError: it is a folder, or its own folder is not there or cannot be written to.
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
        # A file is replaced by a new one, a device or a pipe is written itself.
        folder = os.path.dirname(os.path.realpath(path)) if stat.S_ISREG(mode) else str(path)
    if not os.path.exists(folder):
        raise DataError(path, rule, "no such folder")
    if not os.access(folder, os.W_OK):
        raise DataError(path, rule, "permission denied")
    remove_stale_temporaries(folder)
