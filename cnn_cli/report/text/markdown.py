"""Render the Markdown pages of `cnn_cli/docs` for a terminal, as far as the pages use Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from cnn_cli.report.text.table import GAP, LEAST, display_width

CODE, STRONG, END = "\x1b[36m", "\x1b[1m", "\x1b[0m"
FOLDER = PurePosixPath("cnn_cli/docs")
_ESCAPES = re.compile(r"\x1b\[\d+m")
_PARTS = re.compile(rf"{_ESCAPES.pattern}|.", re.DOTALL)
_PICTURE = re.compile(r"!\[([^\]]+)\]\([^)\s]+\)")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_ITEM = re.compile(r"(- |\d+\. )")


def summary_of(markdown: str) -> str:
    """Return the paragraph under a page's title, which summarizes it."""
    return " ".join(markdown.split("\n\n")[1].split())


def render_page(markdown: str, width: int, styled: bool) -> str:
    """Render a page with lines of at most `width` columns, except code.

    In a narrow terminal, a table's columns keep at least `LEAST` columns each, so its lines may be
    longer.

    Args:
        markdown: the page.
        width: any number; 0 gives one character per line.
        styled: use escape sequences instead of Markdown's marks for code and headings.
    """
    return "\n".join(_lines(markdown.splitlines(), width, styled)) + "\n"


def _lines(source: list[str], width: int, styled: bool) -> Iterator[str]:
    at = 0
    while at < len(source):
        line, start = source[at], at
        if line.startswith("```"):
            at = source.index("```", at + 1) + 1
            yield from (f"    {code}".rstrip() for code in source[start + 1 : at - 1])
        elif line.startswith("    "):
            at += 1
            yield line
        elif line.startswith("|"):
            while at < len(source) and source[at].startswith("|"):
                at += 1
            yield from _table(source[start:at], width, styled)
        elif line.startswith("#"):
            at += 1
            yield from _heading(line, styled)
        elif line.startswith("<!--") or not line:
            at += 1
            if not line:
                yield ""
        else:
            at += 1
            while at < len(source) and source[at] and not _starts_block(source[at]):
                at += 1
            yield from _paragraph(
                " ".join(part.strip() for part in source[start:at]), width, styled
            )


def _starts_block(line: str) -> bool:
    return line.startswith(("```", "    ", "|", "#")) or _ITEM.match(line) is not None


def _heading(line: str, styled: bool) -> Iterator[str]:
    marks, _, title = line.partition(" ")
    title = _inline(title, styled=False)
    if styled:
        yield f"{STRONG}{title}{END}"
    else:
        yield title
        yield ("=" if marks == "#" else "-") * display_width(title)


def _paragraph(text: str, width: int, styled: bool) -> list[str]:
    item = _ITEM.match(text)
    mark = item[0] if item else ""
    lines = _wrap(_inline(text[len(mark) :], styled), width - len(mark))
    return [(" " * len(mark) if i else mark) + line for i, line in enumerate(lines)]


def _inline(text: str, styled: bool) -> str:
    """Render links, code and strong text."""

    def style(span: re.Match[str]) -> str:
        start, words = (CODE, span[1]) if span[1] else (STRONG, span[2])
        # Word by word, so that a line may break between them.
        return " ".join(f"{start}{word}{END}" for word in words.split(" "))

    text = _PICTURE.sub(r"Picture: \1.", text)
    text = _LINK.sub(_link, text).replace(r"\|", "|")
    return _SPAN.sub(style, text) if styled else text


def _link(found: re.Match[str]) -> str:
    text, target = found[1], found[2].partition("#")[0]
    if not target:
        return text
    if "://" in target:
        return f"{text} ({target})"
    if "/" not in target and target.endswith(".md"):
        return f"{text} (`cnn docs {target.removesuffix('.md')}`)"
    parts: list[str] = []
    for part in (FOLDER / target).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    path = "/".join(parts)
    return text if path in text else f"{text} (`{path}`)"


def _table(rows: list[str], width: int, styled: bool) -> Iterator[str]:
    cells = [
        [_inline(cell.strip(), styled) for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
        if not re.fullmatch(r"\|[-:|]+\|", row)
    ]
    widths = _widths(cells, width)
    for i, row in enumerate(cells):
        columns = [_wrap(cell, most) for cell, most in zip(row, widths, strict=True)]
        for j in range(max(map(len, columns))):
            line = [column[j] if j < len(column) else "" for column in columns]
            padded = (
                part + " " * (most - _width(part)) for part, most in zip(line, widths, strict=True)
            )
            yield GAP.join(padded).rstrip()
        if i == 0:
            yield GAP.join("-" * most for most in widths)


def _widths(cells: list[list[str]], width: int) -> list[int]:
    """Return each column's width: what it needs or, if that is too much, its longest word and a
    share.
    """
    whole = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    room = width - len(GAP) * (len(whole) - 1)
    if sum(whole) <= room:
        return whole
    words = [
        max(max(map(_width, cell.split()), default=0) for cell in column)
        for column in zip(*cells, strict=True)
    ]
    least = [min(word, max(room // len(words), LEAST)) for word in words]
    spare, wanted = room - sum(least), sum(whole) - sum(least)
    return [
        few + max(spare, 0) * (many - few) // max(wanted, 1)
        for few, many in zip(least, whole, strict=True)
    ]


def _wrap(text: str, width: int) -> list[str]:
    """Wrap `text` to lines of at most `width` columns, at least one line; longer words are cut."""
    lines, line = [], ""
    for word in text.split():
        if line and _width(line) + 1 + _width(word) > width:
            lines.append(line)
            line = ""
        *whole, rest = _pieces(word, max(width, 1))
        lines += whole  # empty if a line was begun: then the word fits
        line = f"{line} {rest}" if line else rest
    return [*lines, line]


def _pieces(word: str, width: int) -> list[str]:
    """Cut a word into pieces of at most `width` columns, or one character, keeping its style."""
    if _width(word) <= width:
        return [word]
    pieces, piece, columns, style = [], "", 0, ""
    for part in _PARTS.findall(word):
        if part.startswith("\x1b"):
            style = "" if part == END else part
            piece += part
            continue
        if columns and columns + display_width(part) > width:
            pieces.append(piece + (END if style else ""))
            piece, columns = style, 0
        piece += part
        columns += display_width(part)
    return [*pieces, piece]


def _width(text: str) -> int:
    return display_width(_ESCAPES.sub("", text))
