"""The templates of the HTML report: filling, and completeness."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cnn_cli.report.html import template
from cnn_cli.report.html.elements import paragraph, table
from cnn_cli.report.html.template import Markup, Templates, joined

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cnn_cli/report/html/templates"
PIECE = re.compile(r'<template id="([^"]+)">')


def test_text_is_escaped_and_markup_is_not() -> None:
    inner = paragraph("<&\x07\n\udcff")
    assert inner == "<p>&lt;&amp;\\x07\n\\udcff</p>"
    assert paragraph(inner, "&") == f"<p>{inner}&amp;</p>"
    assert joined([Markup("<br>"), "<br>"]) == "<br>&lt;br&gt;"
    assert isinstance(joined([]), Markup)
    text = table("\"<'", ["a"], [], "l")
    assert 'aria-label="&quot;&lt;&#x27;"' in text, "an attribute cannot be left"


def test_placeholders_in_what_is_put_in_are_text() -> None:
    assert paragraph("$parts ${x} $$") == "<p>$parts ${x} $$</p>"


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.1 + 0.2, "0.3"), (2.0, "2"), (["a", "<"], "a&lt;"), ((), "")],
)
def test_numbers_and_lists(
    monkeypatch: pytest.MonkeyPatch, value: template.Value, text: str
) -> None:
    monkeypatch.setattr(template, "read", lambda _: '<template id="a">[$x]</template>')
    assert Templates("x.html").fill("a", x=value) == f"[{text}]"


def test_the_layout_of_a_file_is_not_that_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
      <!-- Nobody sees this. -->
      <template id="a">
        <p class="x"
           id="y">
          Two
          words, $word,
          and <b>more</b>.
          $end
        </p>
      </template>
    """
    monkeypatch.setattr(template, "read", lambda _: source)
    filled = Templates("x.html").fill("a", word="a\n b", end="!")
    assert filled == '<p class="x" id="y">Two words, a\n b, and <b>more</b>.!</p>'


def test_what_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        Templates("page.html").fill("link", ident="a")
    with pytest.raises(KeyError):
        Templates("page.html").fill("lnk")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.html")), ids=lambda file: file.name)
def test_every_piece_has_its_own_name_and_its_use(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    pieces = PIECE.findall(text)
    assert len(pieces) == len(set(pieces)) == text.count("</template>")
    sources = [path.read_text(encoding="utf-8") for path in FOLDER.parent.glob("*.py")]
    used = "".join(source for source in sources if f'"{file.name}"' in source)
    for piece in pieces:
        # Left-aligned and right-aligned pieces are selected by the beginning of their name.
        assert f'"{piece.removesuffix("-l").removesuffix("-r")}' in used, piece


def test_they_are_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["cnn_cli"]
    for file in FOLDER.iterdir():
        path = file.relative_to(ROOT / "cnn_cli").as_posix()
        assert any(fnmatch(path, pattern) for pattern in patterns), path
