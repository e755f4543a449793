"""HTML from Python: elements whose text is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cnn_cli.errors import printable

VOID = ("img", "link", "meta", "path", "line", "rect", "circle")  # here without children

Value = str | int | float | bool | None


class Markup(str):
    """Text that is HTML already. Any other text is escaped where it comes into an element."""

    __slots__ = ()


def element(kind: str, /, *children: str, **attributes: Value) -> Markup:
    """``<kind key="value">children</kind>``.

    Args:
        kind: of the element.
        children: markup, or text to be escaped.
        attributes: `class_` and `for_` without the underscore, `_` within a name as `-`. None and
            False leave one out, True is the name alone.
    """
    parts = [kind]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(attribute)
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f'{attribute}="{escape(_legible(text))}"')
    start = f"<{' '.join(parts)}>"
    if kind in VOID and not children:
        return Markup(start if kind in ("img", "link", "meta") else f"{start[:-1]}/>")
    return Markup(f"{start}{joined(children)}</{kind}>")


def joined(children: Iterable[str]) -> Markup:
    """Markup of several, one after the other."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(_legible(child), quote=False)
            for child in children
        )
    )


def section(ident: str, title: str, *children: str) -> Markup:
    """A part of the page with a heading that the contents lead to."""
    heading = element("h2", title, id=f"{ident}-title")
    return element("section", heading, *children, id=ident, aria_labelledby=f"{ident}-title")


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: str,
    *,
    class_: str | None = None,
) -> Markup:
    """A table whose first column names its rows; it scrolls where it is too wide.

    Args:
        caption: what it shows.
        header: a title per column.
        rows: of as many cells, text or markup.
        align: `l` or `r` per column.
    """
    sides = ["num" if side == "r" else None for side in align]
    titles = (
        element("th", title, scope="col", class_=side)
        for title, side in zip(header, sides, strict=True)
    )
    lines = []
    for row in rows:
        first = element("th", row[0], scope="row", class_=sides[0])
        rest = (
            element("td", cell, class_=side) for cell, side in zip(row[1:], sides[1:], strict=True)
        )
        lines.append(element("tr", first, *rest))
    whole = element(
        "table",
        caption_of(caption),
        element("thead", element("tr", *titles)),
        element("tbody", *lines),
        class_=class_,
    )
    return scrolling(caption, whole)


def caption_of(text: str) -> Markup:
    """A table's title, which on a phone is no wider than the page, whatever the table is."""
    return element("caption", element("span", text))


def scrolling(name: str, *children: str, class_: str = "") -> Markup:
    """A region that the keyboard can scroll sideways where it is wider than the page."""
    return element(
        "div",
        *children,
        class_=f"scroll {class_}".strip(),
        role="region",
        aria_label=name,
        tabindex=0,
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Markup:
    """Names and values."""
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value), class_="pair")
            for name, value in rows
        ),
    )


def details(summary: str, *children: str) -> Markup:
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *children)


def figure(title: str, *children: str) -> Markup:
    """A picture under its title."""
    return element("figure", element("figcaption", title), *children)


def paragraph(*children: str, class_: str | None = None) -> Markup:
    return element("p", *children, class_=class_)


def _legible(text: str) -> str:
    """Text without characters that HTML or UTF-8 does not have."""
    if text.isprintable():
        return text
    return "\n".join(printable(line) for line in text.split("\n"))
