"""CSV lines in which no text is run as a formula or a terminal sequence.

Spreadsheets evaluate cells that begin with `=`, `+`, `-` or `@`. As OWASP advises, such text gets a
leading single quote, which marks it as text; so does text that begins with a tab or a line end.
Numbers are passed as numbers and are not changed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from cnn_cli.errors import printable

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are full-width forms
_BETWEEN = re.compile(r"[^\t\n]+")


def line(cells: Iterable[str | float]) -> str:
    """Return one line with its line end, quoted as in RFC 4180; tabs and line ends in cells are
    kept.

    Args:
        cells: text from any source, or numbers; floats are written with 6 decimals.
    """
    import csv  # imported here because only one output format needs it

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(cell, cells))
    return text.getvalue()


def encoded(rows: Iterable[Iterable[str | float]]) -> bytes:
    """Return the lines of rows in UTF-8; bytes of file names that are not text are escaped."""
    return "".join(map(line, rows)).encode("utf-8", "backslashreplace")


def cell(value: str | float) -> str:
    """Return the text that `line` writes for a value, before quoting."""
    if isinstance(value, str):
        quote = "'" if value.startswith(FORMULA) else ""
        return quote + _BETWEEN.sub(lambda found: printable(found[0]), value)
    return f"{value:.6f}" if isinstance(value, float) else str(value)
