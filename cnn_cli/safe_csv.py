"""Lines of comma-separated values in which no name is a formula or an escape sequence.

Spreadsheets compute a cell that begins with `=`, `+`, `-` or `@`. As OWASP advises, text that does
begins with a single quote instead, which they take for the mark of a text; so does text that begins
with a tab or the end of a line. Numbers are given as numbers, and stay as they are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from cnn_cli.errors import printable

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are their wide forms
_BETWEEN = re.compile(r"[^\t\n]+")


def line(cells: Iterable[str | float]) -> str:
    """A line with its end, quoted as RFC 4180 has it; tabs and line ends within cells stay.

    Args:
        cells: text of any origin; or numbers, a float of which is written with 6 decimals.
    """
    import csv  # which only one format of the answers needs

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(cell, cells))
    return text.getvalue()


def cell(value: str | float) -> str:
    """What `line` writes for a value, before it is quoted."""
    if isinstance(value, str):
        quote = "'" if value.startswith(FORMULA) else ""
        return quote + _BETWEEN.sub(lambda found: printable(found[0]), value)
    return f"{value:.6f}" if isinstance(value, float) else str(value)
