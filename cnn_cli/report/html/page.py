"""The page around its sections."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from cnn_cli import __version__
from cnn_cli.report.html.markup import Markup, element, section

# Of a section: its id, its title and what is in it.
Part = tuple[str, str, Sequence[str]]

# Nothing may be fetched from anywhere, whatever the names in the page hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, subtitle: str, parts: Sequence[Part]) -> bytes:
    """A whole HTML file.

    Args:
        title, subtitle: at its top.
        parts: its sections.
    """
    style = files("cnn_cli.report.html").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} – cnn report"),
        element("style", Markup(style)),
    )
    links = (element("li", element("a", name, href=f"#{ident}")) for ident, name, _ in parts)
    body = element(
        "body",
        element("a", "Skip to the results", href="#main", class_="skip"),
        element(
            "header",
            element("h1", title),
            element("p", subtitle),
            element("nav", element("ul", *links), aria_label="Contents"),
        ),
        element(
            "main",
            *(section(ident, name, *inner) for ident, name, inner in parts),
            id="main",
            tabindex=-1,
        ),
        element("footer", element("p", f"Made by cnn report, cnn {__version__}.")),
    )
    document = f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'
    return document.encode("utf-8", "backslashreplace")
