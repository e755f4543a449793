"""Near-duplicates are found, by a search that finds the same as comparing all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from data_samples import encoded, noise, photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_cli.data import near
from cnn_cli.data.decode import load_image
from cnn_cli.data.near import Group, near_groups, near_pairs, perceptual_hash
from cnn_cli.data.preprocess import Preprocess

PREPROCESS = Preprocess(near.SIDE, near.SIDE, 3, "squash")


def look(image: Image.Image, kind: str = "PNG", **options: object) -> bytes | None:
    return perceptual_hash(load_image(encoded(image, kind, **options), PREPROCESS))


def clusters(seed: int, count: int) -> near.Hashes:
    """Generate hashes at all distances: random ones, and others with some bits flipped."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 2**64, max(1, count // 4), dtype=np.uint64)
    turned = rng.random((count, 64)) < rng.choice([0.0, 0.03, 0.08, 0.15], (count, 1))
    masks = np.packbits(turned, axis=1).view(np.uint64).ravel()
    return rng.choice(centers, count) ^ masks


@pytest.mark.parametrize("chunk", [1, 7, near.CHUNK])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 120), st.integers(0, 12), st.integers(1, 13))
def test_all_pairs_are_found_once(
    chunk: int, seed: int, count: int, distance: int, bands: int
) -> None:
    hashes = clusters(seed, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "CHUNK", chunk)
        patch.setattr(near, "_bands", lambda *_: max(bands, 4))  # tables of 2^16 at most
        found = [
            (*sorted((int(i), int(j))), int(d))
            for left, right, distances in near_pairs(hashes, distance)
            for i, j, d in zip(left, right, distances, strict=True)
        ]
    expected = [
        (i, j, differing)
        for i in range(count)
        for j in range(i + 1, count)
        if (differing := (int(hashes[i]) ^ int(hashes[j])).bit_count()) <= distance
    ]
    assert sorted(found) == expected


def test_the_work_is_not_that_of_all_pairs() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)
    bands = near._bands(len(hashes), 8)
    width = 64 // bands
    keys = (hashes & np.uint64(2**width - 1)).astype(np.int64)
    looked_at = sum(len(left) for left, _ in near._candidates(keys, width, 8 // bands))
    assert bands * looked_at < len(hashes) ** 2 / 2 / 20


def test_groups_are_linked_through_others() -> None:
    def hashed(coarse: int, fine: int = 0) -> bytes:
        return np.array([coarse, fine, 0, 0, 0], np.uint64).tobytes()

    hashes = [
        hashed(0),
        hashed(2**40 - 1),
        hashed(0b11),
        hashed(0b1111),
        hashed(2**40 - 1),
        hashed(2**63, 2**13 - 1),  # 1 bit of 64 from the first, and 13 of 256
    ]
    assert near_groups(hashes, 2) == [Group((0, 2, 3), 2), Group((1, 4), 0)]
    assert near_groups(hashes, 1) == [Group((1, 4), 0)]
    assert near_groups(hashes, 3) == [Group((0, 2, 3, 5), 2), Group((1, 4), 0)]
    assert near_groups([], 8) == near_groups(hashes[:1], 8) == []


def test_changed_copies_are_near_and_others_are_not() -> None:
    hashes = []
    for seed in range(6):
        image = photograph(100 * seed)
        hashes += [
            look(image),
            look(image.resize((100, 80)), "JPEG", quality=40),
            look(image.crop((1, 1, 158, 159)), "WEBP", quality=60),
            look(image.point(lambda value: min(255, value * 1.1 + 5))),
        ]
    known = [each for each in hashes if each is not None]
    assert len(known) == 24
    groups = near_groups(known, 8)
    assert [group.places for group in groups] == [
        tuple(range(4 * seed, 4 * seed + 4)) for seed in range(6)
    ]


def test_flat_pictures_have_no_hash() -> None:
    assert look(Image.new("RGB", (50, 40), "red")) is None
    noisy = 128 + (noise(64, 64, 1) >> 6)
    assert look(Image.fromarray(noisy.astype(np.uint8)), "JPEG", quality=50) is None
    stripe = Image.new("L", (64, 64), 255)
    stripe.paste(0, (0, 0, 64, 8))
    assert look(stripe) is not None


def test_the_hash_is_the_papers() -> None:
    """Each bit by the definition of the discrete cosine transform."""
    # Another photograph in each channel, so that their weights matter.
    channels = [load_image(encoded(photograph(seed)), PREPROCESS)[..., 0] for seed in (3, 4, 5)]
    image = np.dstack(channels)
    gray = image @ np.array([0.299, 0.587, 0.114])
    x = (2 * np.arange(32) + 1) * np.pi / 64
    values = [
        sum(
            (gray * np.cos(u * x)[:, None] * np.cos(v * x)[None]).ravel().tolist(),
        )
        for u in range(8)
        for v in range(8)
    ]
    middle = float(np.median(values[1:]))
    bits = np.packbits([value > middle for value in values])
    hashed = perceptual_hash(image)
    assert hashed is not None
    assert len(hashed) == 40
    # The median is one of the values, and float32 rounding may move it to the other side.
    differing = int.from_bytes(hashed[:8], "big") ^ int.from_bytes(bits.tobytes(), "big")
    assert differing.bit_count() <= 1
