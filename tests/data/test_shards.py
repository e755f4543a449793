"""Images divided into shards."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.data.shards import bounds, deal, interleave, partners, rank_images, touched

CASES = [(23, 5, 3), (23, 8, 4), (20, 5, 5), (3, 8, 4), (64, 64, 2)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n", "batch_size", "shards"), CASES)
def test_every_image_is_in_one_shard_and_has_a_place(n: int, batch_size: int, shards: int) -> None:
    dealt = deal(n, batch_size, shards, rng())
    assert sorted(np.concatenate(dealt)) == list(range(n))
    order = interleave([rng(1).permutation(shard) for shard in dealt], batch_size)
    assert sorted(order) == list(range(n))
    for start in range(0, n, batch_size):
        batch = order[start : start + batch_size]
        for number, shard in enumerate(dealt):
            assert np.isin(batch[bounds(len(batch), number, shards)], shard).all()


def test_batches_of_another_size_keep_to_the_places() -> None:
    dealt = deal(36, 5, 2, rng())
    assert [len(shard) for shard in dealt] == [14, 22]
    order = interleave(dealt, 32)
    assert len(order) == 29
    assert np.isin(order[:14], dealt[0]).all()
    assert np.isin(order[14:], dealt[1]).all()


def test_one_shard_is_all_images_in_their_order() -> None:
    (everything,) = deal(7, 2, 1, rng())
    assert everything.tolist() == list(range(7))
    order = rng().permutation(7)
    assert interleave([order], 2) is order


def test_deals_at_random_and_the_same_every_time() -> None:
    deals = [np.concatenate(deal(40, 8, 2, rng(seed))).tolist() for seed in (0, 0, 1)]
    assert deals[0] == deals[1] != deals[2]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize(("n", "batch_size", "shards"), CASES)
def test_processes_share_all_images(n: int, batch_size: int, shards: int, size: int) -> None:
    dealt = deal(n, batch_size, shards, rng())
    parts = [rank_images(dealt, rank, size) for rank in range(size)]
    assert np.concatenate(parts).tolist() == np.concatenate(dealt).tolist()
    order = interleave(dealt, batch_size)
    for rank, part in enumerate(parts):
        mine = touched(dealt, rank, size)
        assert np.isin(part, mine).all()
        for start in range(0, n, batch_size):
            batch = order[start : start + batch_size]
            assert np.isin(batch[bounds(len(batch), rank, size)], mine).all()
        if size % shards == 0:  # each process has images of one shard
            assert mine.tolist() == dealt[rank * shards // size].tolist()


def test_partners_are_of_the_same_shard() -> None:
    assert partners(4, 1).tolist() == [3, 0, 1, 2]
    assert partners(5, 2).tolist() == [1, 0, 4, 2, 3]
    assert partners(1, 4).tolist() == [0]
