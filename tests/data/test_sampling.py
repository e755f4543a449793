"""The order of an epoch's images, and balanced classes."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.data.sampling import draw_order

LABELS = np.repeat([0, 1, 3], [40, 7, 3])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_shuffled_each_image_comes_once() -> None:
    order = draw_order(LABELS, "shuffle", rng())
    assert sorted(order) == list(range(50))
    np.testing.assert_array_equal(order, rng().permutation(50))


@pytest.mark.parametrize("seed", range(5))
def test_balanced_classes_have_equal_shares(seed: int) -> None:
    order = draw_order(LABELS, "balanced", rng(seed))
    counts = np.bincount(LABELS[order], minlength=4)
    assert len(order) == 50
    assert counts[2] == 0
    assert set(counts[[0, 1, 3]]) == {16, 17}
    times = np.bincount(order, minlength=50)
    assert times[:40].max() == 1  # of the largest class, each at most once
    for start, stop in ((40, 47), (47, 50)):
        assert np.ptp(times[start:stop]) <= 1


def test_the_order_follows_the_generator() -> None:
    orders = [draw_order(LABELS, "balanced", rng(seed)).tobytes() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_more_classes_than_their_share_and_one_class() -> None:
    assert sorted(draw_order(np.array([4, 7]), "balanced", rng())) == [0, 1]
    assert sorted(draw_order(np.zeros(5, np.int64), "balanced", rng())) == [0, 1, 2, 3, 4]


def test_what_is_balanced_stays_whole() -> None:
    labels = np.tile([0, 1], 10)
    assert sorted(draw_order(labels, "balanced", rng())) == list(range(20))
