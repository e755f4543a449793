"""The pages as GitHub renders them: CommonMark with tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image
from test_pages import PAGES, ROOT, name_of

PICTURES = ROOT / "cnn_cli/docs/pictures"
SEPARATOR = re.compile(r"^\|(-+\|)+$", re.MULTILINE)
MOST_BYTES = 120_000  # of a picture
README_LINES = 200


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a page, including inline ones."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_tables_are_rendered_as_tables(path: Path) -> None:
    found = list(tokens(PAGES[path]))
    outside = re.sub(r"^```.*?^```$", "", PAGES[path], flags=re.DOTALL | re.MULTILINE)
    assert sum(token.type == "table_open" for token in found) == len(SEPARATOR.findall(outside))
    rest = [token.content for token in found if token.type == "text"]
    assert [text for text in rest if text.startswith("|")] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_marks_are_closed(path: Path) -> None:
    """No backtick, link or emphasis is left unrendered."""
    for token in tokens(PAGES[path]):
        if token.type == "text":
            assert not re.search(r"`|\]\(|\*\*", token.content), token.content


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_html_is_a_comment(path: Path) -> None:
    for token in tokens(PAGES[path]):
        assert token.type not in ("html_block", "html_inline") or token.content.startswith("<!--")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pictures_are_there_and_described(path: Path) -> None:
    for token in tokens(PAGES[path]):
        if token.type == "image":
            assert (path.parent / str(token.attrs["src"])).is_file(), token.attrs["src"]
            assert len(token.content) > 20, "needs an alternative text that says what is seen"


def test_the_readme_is_short() -> None:
    assert len(PAGES[ROOT / "README.md"].splitlines()) <= README_LINES


def test_pictures_are_small_and_used() -> None:
    texts = "".join(PAGES.values())
    for file in sorted(PICTURES.iterdir()):
        assert f"pictures/{file.name})" in texts, file.name
        assert file.stat().st_size <= MOST_BYTES
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert picture.width <= 840
