"""Any terminal: wrapped, drawn and padded text fits and loses nothing, at any width."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_cli.bench.network_bench import Bench, LayerBench
from cnn_cli.cli.docs import page_names, page_text
from cnn_cli.cli.shared.bars import fitting
from cnn_cli.report.text.markdown import render_page
from cnn_cli.report.text.speed_tables import SHORTEST_NAME, bench_text
from cnn_cli.report.text.table import (
    GAP,
    LEAST,
    cut_middle,
    display_width,
    format_pairs,
    format_table,
)

WIDTHS = st.integers(0, 500)
# Letters, wide characters, accents, control characters and right-to-left text.
NAMES = st.text(
    st.sampled_from("ab 猫é\u0301\u0300\ufe0f\n\t\x1b\x00\u202e\u2066|`*[]()"), max_size=60
)
PAGE = """\
# A page of 猫猫猫猫猫猫猫猫猫猫猫猫

Words with `code in them`, `averylongwordofcode`, **strong ones**,
averylongwordof猫猫猫猫猫猫e\u0301.

10. an item that is so long that it goes on
    in the next line
- another

| `key` | meaning | more |
|---|---|---|
| `averylongwordofcode`, c | so many words that they do not fit | 猫猫猫猫猫猫猫猫猫猫猫猫 |
| c | | |
"""
ESCAPE = re.compile(r"\x1b\[\d+m")


def letters(text: str) -> Counter[str]:
    """Count the characters of a text, without spaces, styles and underlines."""
    found = Counter("".join(ESCAPE.sub("", text).split()))
    return Counter({letter: n for letter, n in found.items() if letter not in "-="})


@pytest.mark.parametrize("styled", [False, True])
def test_every_width_of_a_page(styled: bool) -> None:
    wide = render_page(PAGE, 500, styled)
    table = 3 * LEAST + 2 * len(GAP)
    for width in range(501):
        text = render_page(PAGE, width, styled)
        assert letters(text) == letters(wide)
        lines = ESCAPE.sub("", text).splitlines()
        # A line cannot be narrower than an item's mark and a wide letter.
        least = max(width, 6, table if width < table else 0)
        # Except for the title, which is not wrapped.
        assert [line for line in lines[2:] if display_width(line) > least] == []
        if styled:
            assert text.count("\x1b[36m") + text.count("\x1b[1m") == text.count("\x1b[0m")


@pytest.mark.parametrize("name", page_names())
@pytest.mark.parametrize("width", [0, 1, 2, 3, 10, 24, 79, 81, 500])
def test_every_page_at_a_width(name: str, width: int) -> None:
    page = page_text(name)
    assert letters(render_page(page, width, True)) == letters(render_page(page, 1000, True))


@settings(deadline=None, max_examples=200)
@given(NAMES, WIDTHS, st.booleans())
def test_any_text_as_a_page(text: str, width: int, styled: bool) -> None:
    page = " ".join(text.replace("\x1b", "").split())
    render_page(f"# Title\n\n- {page}\n\n| a | {page.replace('|', '')} |\n", width, styled)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(NAMES, NAMES), max_size=4), st.none() | WIDTHS)
def test_any_table(rows: list[tuple[str, str]], width: int | None) -> None:
    lines = format_table(("name", "n"), rows, "lr", ("total", ""), width).splitlines()
    assert len(lines) == len(rows) + 4
    assert all(line.isprintable() for line in lines)
    second = max((display_width(line.rpartition(GAP)[2]) for line in lines), default=0)
    if width is not None:
        most = max(width, LEAST + len(GAP) + display_width(lines[1].split()[1]))
        assert max(map(display_width, lines)) <= most, second
    assert len(format_pairs(rows).splitlines()) == len(rows)


@settings(deadline=None, max_examples=300)
@given(NAMES, WIDTHS)
def test_any_cut(name: str, columns: int) -> None:
    cut = cut_middle(name, columns)
    assert display_width(cut) <= max(columns, 3)
    assert cut == name or "…" in cut


@settings(deadline=None, max_examples=100)
@given(st.text("abc.0", min_size=1, max_size=90), WIDTHS)
def test_any_table_of_a_bench(name: str, width: int) -> None:
    layer = LayerBench(name, "conv", 1.5, 100.25, 2.5, 120.0, 0.4)
    bench = Bench(64, 2, "numpy", "float32", 32, 8, (layer,), 4.0, 1.0, 10.0, 1234.56, 3456.78)
    table = bench_text(bench, width).splitlines()[2:9]
    shortest = replace(bench, layers=(replace(layer, name="x" * SHORTEST_NAME),))
    least = max(map(display_width, bench_text(shortest).splitlines()[2:9]))
    assert max(map(display_width, table)) <= max(width, least)


@given(st.lists(st.text("ab猫", max_size=9), min_size=1, max_size=5), st.integers(-20, 500))
def test_any_room_beside_a_bar(parts: list[str], columns: int) -> None:
    text = fitting(parts, columns)
    assert text.startswith(parts[0])
    assert text == parts[0] or len(text) <= columns
