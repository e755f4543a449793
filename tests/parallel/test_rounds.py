"""A stream that rank 0 reads, in rounds."""

from __future__ import annotations

import pytest

from cnn_cli.parallel.ranks import ALONE
from cnn_cli.parallel.shared_items import rounds


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], []),
        ([1, 2, 3, 4, 5], [[1, 2], [3, 4], [5]]),
        # The items before a wait form a round; an empty round lets them be answered.
        ([None, 1, None, 2, 3, 4, None], [[], [1], [], [2, 3], [4], []]),
        ([1, 2, None, 3], [[1, 2], [], [3]]),
    ],
)
def test_rounds(items: list[int | None], expected: list[list[int]]) -> None:
    assert list(rounds(iter(items), 2, ALONE)) == expected
