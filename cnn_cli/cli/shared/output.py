"""What the program writes: results on stdout, all else on stderr, files in one step."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

from cnn_cli import strict_json
from cnn_cli.errors import DataError, printable, reason
from cnn_cli.files import remove_stale_temporaries


def write(text: str) -> None:
    """Put a result, which may end anywhere within a line, on stdout.

    Raises:
        BrokenPipeError: the reader is gone.
        DataError: stdout cannot be written for another reason.
    """
    if sys.stdout is None:
        raise DataError("stdout", "cannot be written", "a closed stream")
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError("stdout", "cannot be written", reason(error)) from error


def write_json(value: Any) -> None:
    """Put a value on stdout as one line of JSON; errors as in `write`."""
    write(strict_json.dumps(value) + "\n")


def flush() -> None:
    """Send what was written on its way; errors as in `write`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError("stdout", "cannot be written", reason(error)) from error


def say(text: str) -> None:
    """One line on stderr. Nobody there to read it is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def terminal_size() -> os.terminal_size | None:
    """Columns and lines of the terminal that stdout is; None where it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else None
    except (AttributeError, OSError, ValueError):
        return None


def note(text: str) -> None:
    """What the user may want to know, that is no error, on stderr."""
    say(f"cnn: {text}")


def check_output(path: Path) -> None:
    """Say early what would keep a file from being written; no file of others is changed.

    What a killed process left half-written beside it is deleted.

    Raises:
        DataError: it is a folder, or its own folder is not there or cannot be written to.
    """
    rule = "cannot be written"
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


def prepare_streams() -> None:
    """Make sure that no name can keep stdout from being written, and no file becomes a stream."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller: the next file opened would take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def abandon_stdout() -> None:
    """Keep what is still buffered from being tried again, and failing again, at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
