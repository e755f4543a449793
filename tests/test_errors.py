"""What all messages share."""

from __future__ import annotations

import pytest

from cnn_cli.errors import listed


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
