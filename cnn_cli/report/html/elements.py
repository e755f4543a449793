"""What the sections of the page are made of: paragraphs, tables, names with values, figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnn_cli.report.html.template import Markup, Templates

_ELEMENTS = Templates("elements.html")


def paragraph(*parts: str) -> Markup:
    """Text and markup, one after the other, as a paragraph."""
    return _ELEMENTS.fill("paragraph", parts=parts)


def heading(text: str) -> Markup:
    """A heading within a section."""
    return _ELEMENTS.fill("heading", text=text)


def bold(text: str) -> Markup:
    """What stands out in its row."""
    return _ELEMENTS.fill("bold", text=text)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> Markup:
    """A table whose first column names its rows; it scrolls where it is too wide.

    Args:
        caption: what it shows.
        header: a title per column.
        rows: of as many cells, text or markup.
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
    """Names and values."""
    return _ELEMENTS.fill(
        "pairs", pairs=[_ELEMENTS.fill("pair", name=name, value=value) for name, value in rows]
    )


def figure(title: str, chart: Markup, numbers: Markup) -> Markup:
    """A chart under its title, with a table of its numbers that is folded away."""
    return _ELEMENTS.fill("figure", title=title, chart=chart, numbers=numbers)


def side_by_side(figures: Sequence[Markup]) -> Markup:
    """Figures beside each other, as far as the page is wide enough."""
    return _ELEMENTS.fill("side-by-side", figures=figures)


def config_block(text: str) -> Markup:
    """A config as it stands in a file."""
    return _ELEMENTS.fill("config", text=text)
