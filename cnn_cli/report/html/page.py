"""The frame of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnn_cli import __version__
from cnn_cli.report.html.template import Markup, Templates, read

_PAGE = Templates("page.html")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page, listed in the table of contents.

    Attributes:
        ident: its id on the page.
        title: its heading.
        parts: its content.
    """

    ident: str
    title: str
    parts: Sequence[str]


def page(title: str, subtitle: str, sections: Sequence[Section]) -> bytes:
    """Return a complete HTML file.

    Args:
        title, subtitle: the heading.
        sections: the content.
    """
    html = _PAGE.fill(
        "page",
        title=title,
        subtitle=subtitle,
        style=Markup(read("style.css")),
        links=[_PAGE.fill("link", ident=one.ident, title=one.title) for one in sections],
        sections=[
            _PAGE.fill("section", ident=one.ident, title=one.title, parts=one.parts)
            for one in sections
        ],
        version=__version__,
    )
    return f"<!DOCTYPE html>\n{html}\n".encode("utf-8", "backslashreplace")
