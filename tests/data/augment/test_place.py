"""Flips and shifts of whole batches, against plain loops over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnn_cli.data.augment import AugmentConfig, make_augmentation
from cnn_cli.data.augment.augmentation import Augmentation
from cnn_cli.data.augment.draws import numbers_for
from cnn_cli.data.augment.place import PLACE, CropMirror, Place
from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import Preprocess

N = 40
INDICES = np.arange(100, 100 + N)


def batch(height: int = 5, width: int = 7, channels: int = 3) -> Pixels:
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (N, height, width, channels), np.uint8)


def changed(place: Place, images: Pixels, epoch: int = 0) -> Pixels:
    out = images.copy()
    place(out, INDICES, epoch)
    return out


def moved(image: Pixels, down: int, right: int, *, mirrored: bool) -> Pixels:
    """Shift an image pixel by pixel; -1 is reflected at 0 to 1."""
    height, width, _ = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y - down, x - right
            if mirrored:
                from_y = abs(from_y) if from_y < height else 2 * (height - 1) - from_y
                from_x = abs(from_x) if from_x < width else 2 * (width - 1) - from_x
            if 0 <= from_y < height and 0 <= from_x < width:
                out[y, x] = image[from_y, from_x]
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_moves_are_those_of_a_loop(channels: int, mirrored: bool) -> None:
    images = batch(channels=channels)
    out = changed(Place(5, padding=3, mirrored=mirrored), images)
    moves = {
        (down, right): [moved(image, down, right, mirrored=mirrored) for image in images]
        for down in range(-3, 4)
        for right in range(-3, 4)
    }
    found = []
    for i in range(N):
        fits = [move for move, results in moves.items() if (results[i] == out[i]).all()]
        assert len(fits) == 1
        found += fits
    assert len(set(found)) > 20  # of 49
    for axis in (0, 1):
        assert {move[axis] for move in found} == set(range(-3, 4))


def test_the_largest_reflection() -> None:
    images = batch(height=3, width=3)
    out = changed(Place(0, padding=2, mirrored=True), images)
    assert (out > 0).all()


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_flips(channels: int) -> None:
    images = batch(channels=channels)
    numbers = numbers_for(1, PLACE, 4, INDICES, 4)
    out = changed(Place(1, hflip=0.3, vflip=0.6), images, epoch=4)
    for i in range(N):
        expected = images[i]
        if numbers[i, 0] < 0.3:
            expected = expected[:, ::-1]
        if numbers[i, 1] < 0.6:
            expected = expected[::-1]
        np.testing.assert_array_equal(out[i], expected)


def test_shares_of_none_and_all() -> None:
    images = batch()
    np.testing.assert_array_equal(changed(Place(0, hflip=1.0), images), images[:, :, ::-1])
    np.testing.assert_array_equal(changed(Place(0, vflip=1.0), images), images[:, ::-1])
    np.testing.assert_array_equal(changed(Place(0), images), images)


def test_share_of_flips() -> None:
    """3,000 images: within five standard deviations of 0.25."""
    images = np.zeros((3000, 1, 2, 1), np.uint8)
    images[:, 0, 1] = 1
    Place(0, hflip=0.25)(images, np.arange(3000), 3)
    assert abs(images[:, 0, 0].mean() - 0.25) < 5 * (0.25 * 0.75 / 3000) ** 0.5


def test_alternating_flips() -> None:
    """arXiv:2404.00498: half in the first epoch, then the other half, and so on."""
    images = batch()
    place = Place(3, hflip="alternating")
    epochs = [changed(place, images, epoch) for epoch in range(4)]
    np.testing.assert_array_equal(epochs[0], epochs[2])
    np.testing.assert_array_equal(epochs[1], epochs[3])
    np.testing.assert_array_equal(epochs[0], epochs[1][:, :, ::-1])
    flipped = [not (a == b).all() for a, b in zip(epochs[0], images, strict=True)]
    assert 10 < sum(flipped) < 30
    other = changed(Place(4, hflip="alternating"), images)
    assert (other != epochs[0]).any()


def test_what_is_on_does_not_change_the_others() -> None:
    images = batch()
    flipped = changed(Place(0, hflip=0.5), images)
    both = changed(Place(0, hflip=0.5, padding=2), images)
    moved_only = Place(0, padding=2)
    np.testing.assert_array_equal(changed(moved_only, flipped), both)


@pytest.mark.parametrize("hflip", [0.3, 1.0, "alternating"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_crop_mirrors_the_same_images(hflip: Any, epoch: int) -> None:
    indices = np.arange(5, 45)
    images = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None], (40, 2, 4, 1)).copy()
    Place(7, hflip=hflip)(images, indices, epoch)
    mirrored = CropMirror(7, hflip)(indices, epoch)
    np.testing.assert_array_equal(mirrored, images[:, 0, 0, 0] == 3)


def test_hflip_is_the_crops_where_there_is_one() -> None:
    config = AugmentConfig.model_validate({"random_resized_crop": True, "hflip": 1.0})
    augment = make_augmentation(config, 0, Preprocess(4, 4, 3), (0.5,) * 3)
    assert augment is not None
    assert augment.blocks(np.zeros((2, 4, 4, 3), np.uint8)) == []
    assert augment.mirrored(np.arange(3), 0).all()


def test_steps_are_taken_one_after_another() -> None:
    def double(images: Pixels, indices: Any, epoch: int) -> None:
        images *= 2

    def add(images: Pixels, indices: Any, epoch: int) -> None:
        images += 1

    images = np.full((2, 1, 1, 1), 3, np.uint8)
    Augmentation([double, add], None)(images, np.arange(2), 0)
    assert images.ravel().tolist() == [7, 7]
