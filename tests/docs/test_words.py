"""The language of pages and help: US spelling, and none of the phrases that readers stumbled
over.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_pages import PAGES, name_of

BRITISH = (
    "behaviour",
    "centre",
    "colour",
    "favour",
    "grey",
    "honour",
    "initialis",
    "labelled",
    "licence",
    "neighbour",
    "normalis",
    "optimise",
    "recognis",
)
RIDDLES = (
    "by chance says",
    "chance says which",
    "first guess",
    "goes on with",
    "is told by",
    "of all that is random",
    "that nobody",
    "to tell pictures apart",
    "what its sums",
    "which is none",
    "whose label is contradicted most",
)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_spelling_is_that_of_the_code(path: Path) -> None:
    """Without code: `grey` may be a key in JSON."""
    prose = re.sub(r"```.*?```|`[^`]*`|\([^()\s]*\)", "", PAGES[path], flags=re.DOTALL).lower()
    assert [word for word in BRITISH if word in prose] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_no_riddles(path: Path) -> None:
    prose = " ".join(PAGES[path].split()).lower()
    assert [words for words in RIDDLES if words in prose] == []
