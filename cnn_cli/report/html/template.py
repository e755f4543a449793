"""The templates of the page, filled by `string.Template` from the standard library.

A file in the folder `templates` contains pieces of HTML, each between `<template id="NAME">` and
`</template>`. Python code fills a piece for each item of a list and inserts the results into a
larger piece. Text is escaped here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from cnn_cli.errors import printable

# Template files have line breaks and indentation for readability. In tags and between words they
# become a space, elsewhere nothing.
_LAYOUT = re.compile(r"(<[^>]*>)|(?<=[\w.,;:])(\s*\n\s*)(?=\w)|\s*\n\s*")
_PIECE = re.compile(r'<template id="([^"]+)">(.*?)</template>', re.DOTALL)

Value = str | int | float | Sequence[str]


class Markup(str):
    """Text that is already HTML. Any other text is escaped when it is inserted."""

    __slots__ = ()


class Templates:
    """The pieces of one file.

    Args:
        file: its name in the folder `templates`.
    """

    def __init__(self, file: str) -> None:
        self._pieces = {
            name: Template(_LAYOUT.sub(_without_layout, text))
            for name, text in _PIECE.findall(read(file))
        }

    def fill(self, piece: str, /, **values: Value) -> Markup:
        """Fill the placeholders of a piece.

        Args:
            piece: its name.
            values: one per placeholder. Text is escaped, `Markup` is not; sequences are
                concatenated; floats have at most 6 digits.
        """
        texts = {name: _html(value) for name, value in values.items()}
        return Markup(self._pieces[piece].substitute(texts))


def read(file: str) -> str:
    """Return the text of a file in the folder `templates`."""
    path = files("cnn_cli.report.html").joinpath("templates", file)
    return path.read_text(encoding="utf-8")


def joined(parts: Iterable[str]) -> Markup:
    """Concatenate text and markup."""
    return Markup("".join(map(_html, parts)))


def _html(value: Value) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return escape(_legible(value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else joined(value)


def _legible(text: str) -> str:
    """Remove characters that HTML or UTF-8 does not allow."""
    if text.isprintable():
        return text
    return "\n".join(printable(line) for line in text.split("\n"))


def _without_layout(found: re.Match[str]) -> str:
    if found[1]:
        return " ".join(found[1].split())
    return " " if found[2] else ""
