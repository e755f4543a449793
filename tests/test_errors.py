"""Rules common to all messages."""

from __future__ import annotations

import pytest

from cnn_cli.errors import listed, reason


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (list("abcde"), "a, b, c, d, e"),
        (list("abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_a_list_of_names(names: list[str], text: str) -> None:
    assert listed(names) == text


@pytest.mark.parametrize(
    ("count", "text"), [(1, "a"), (2, "a and b"), (3, "a, b and c"), (4, "a, b, c and 1 more")]
)
def test_a_list_of_names_in_a_sentence(count: int, text: str) -> None:
    assert listed(list("abcd")[:count], 3, last=" and ") == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (IsADirectoryError(21, "Is a directory", "photos"), "a folder"),
        (OSError(5, "Input/output error"), "input/output error"),
        (ValueError("File is not a zip file"), "file is not a zip file"),
        (ValueError("CRC-32 differs"), "CRC-32 differs"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_reason_continues_a_sentence(error: Exception, text: str) -> None:
    assert reason(error) == text
