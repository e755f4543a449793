"""The elements of the page's sections: paragraphs, tables, name-value lists, figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnn_cli.report.html.template import Markup, Templates

_ELEMENTS = Templates("elements.html")


def paragraph(*parts: str) -> Markup:
    """Return a paragraph of text and markup."""
    return _ELEMENTS.fill("paragraph", parts=parts)


def heading(text: str) -> Markup:
    """Return a heading within a section."""
    return _ELEMENTS.fill("heading", text=text)


def bold(text: str) -> Markup:
    """Return bold text."""
    return _ELEMENTS.fill("bold", text=text)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> Markup:
    """Return a table whose first column names its rows; it scrolls if it is too wide.

    Args:
        caption: its caption.
        header: one title per column.
        rows: rows of as many cells, text or markup.
        align: `l` or `r` per column.
    """
    kinds = ["first", *["cell"] * (len(align) - 1)]
    titles = [
        _ELEMENTS.fill(f"title-{side}", text=title)
        for side, title in zip(align, header, strict=True)
    ]
    lines = [
        _ELEMENTS.fill(
            "row",
            cells=[
                _ELEMENTS.fill(f"{kind}-{side}", text=cell)
                for kind, side, cell in zip(kinds, align, row, strict=True)
            ],
        )
        for row in rows
    ]
    return _ELEMENTS.fill("table", caption=caption, titles=titles, rows=lines)


def pairs(rows: Iterable[tuple[str, str]]) -> Markup:
    """Return a list of names and values."""
    return _ELEMENTS.fill(
        "pairs", pairs=[_ELEMENTS.fill("pair", name=name, value=value) for name, value in rows]
    )


def figure(title: str, chart: Markup, numbers: Markup) -> Markup:
    """Return a chart with a title, and a collapsed table of its numbers."""
    return _ELEMENTS.fill("figure", title=title, chart=chart, numbers=numbers)


def side_by_side(figures: Sequence[Markup]) -> Markup:
    """Return figures side by side, as far as the page is wide enough."""
    return _ELEMENTS.fill("side-by-side", figures=figures)


def config_block(text: str) -> Markup:
    """Return a config as preformatted text."""
    return _ELEMENTS.fill("config", text=text)
