"""Numbers for many places at once equal those of each place's generator."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.rng import Purpose, generator, uniforms

ITEMS = np.array([0, 1, 7, 123_456_789, 2**40, 2**63 - 1])


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 22])
def test_rows_are_those_of_generators(seed: int, count: int) -> None:
    """Against NumPy's own Philox, to the last bit."""
    rows = uniforms(seed, Purpose.AUGMENT, 2**63 - 1, ITEMS, 7, count)
    assert rows.dtype == np.float64
    for row, item in zip(rows, ITEMS.tolist(), strict=True):
        expected = generator(seed, Purpose.AUGMENT, 2**63 - 1, item, 7).random(count)
        np.testing.assert_array_equal(row, expected)


def test_places_and_purposes_differ() -> None:
    rows = [
        uniforms(seed, purpose, first, np.array([3]), third, 4)
        for seed in (0, 1)
        for purpose in (Purpose.AUGMENT, Purpose.MIX)
        for first in (0, 1)
        for third in (0, 1)
    ]
    assert len({row.tobytes() for row in rows}) == 16


def test_no_items() -> None:
    assert uniforms(0, Purpose.MIX, 0, np.empty(0, np.int64), 0, 3).shape == (0, 3)
