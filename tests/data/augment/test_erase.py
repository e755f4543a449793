"""random_erase: rectangles as in torchvision, squares as in Cutout."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from cnn_cli.data.augment.draws import numbers_for
from cnn_cli.data.augment.erase import ERASE, RandomErase, RandomEraseConfig

N = 400
INDICES = np.arange(N)
MEAN = (0.5, 0.25, 1.0)


def erased(config: RandomEraseConfig, height: int = 20, width: int = 30) -> NDArray[np.bool_]:
    """Return (n, height, width): which pixels are erased in images of value 7."""
    images = np.full((N, height, width, 3), 7, np.uint8)
    RandomErase(config, 3, MEAN)(images, INDICES, 1)
    painted: NDArray[np.bool_] = (images != 7).any(axis=-1)
    if config.value == "mean":
        assert {tuple(pixel) for pixel in images[painted]} == {(128, 64, 255)}
    assert (images[~painted] == 7).all()
    return painted


def torchvision_sides(numbers: NDArray[np.float64], height: int, width: int) -> tuple[int, int]:
    """`RandomErasing.get_params`: the first of ten that fits."""
    for share, shape in zip(numbers[:10], numbers[10:], strict=True):
        area = height * width * (0.02 + share * (0.33 - 0.02))
        ratio = exp(log(0.3) + shape * (log(3.3) - log(0.3)))
        h, w = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if h < height and w < width:
            return h, w
    return 0, 0


@pytest.mark.parametrize("size", [(20, 30), (5, 60)])
def test_rectangles_are_those_of_torchvision(size: tuple[int, int]) -> None:
    numbers = numbers_for(3, ERASE, 1, INDICES, 23)
    lefts = []
    for row, painted in zip(numbers, erased(RandomEraseConfig(p=0.4), *size), strict=True):
        if row[0] >= 0.4:
            assert not painted.any()
            continue
        h, w = torchvision_sides(row[3:], *size)
        top, left = int(row[1] * (size[0] - h + 1)), int(row[2] * (size[1] - w + 1))
        expected = np.zeros(size, bool)
        expected[top : top + h, left : left + w] = True
        np.testing.assert_array_equal(painted, expected)
        lefts.append(left / max(1, size[1] - w))
    assert 100 < len(lefts) < 220
    assert (min(lefts), max(lefts)) == (0, 1)


@pytest.mark.parametrize("side", [1, 8, 9])
def test_squares_are_cut_off_at_the_edges(side: int) -> None:
    numbers = numbers_for(3, ERASE, 1, INDICES, 23)
    for row, painted in zip(numbers, erased(RandomEraseConfig(size=side)), strict=True):
        y, x = int(row[1] * 20), int(row[2] * 30)
        expected = np.zeros((20, 30), bool)
        for i in range(y - side // 2, y - side // 2 + side):
            for j in range(x - side // 2, x - side // 2 + side):
                if 0 <= i < 20 and 0 <= j < 30:
                    expected[i, j] = True
        np.testing.assert_array_equal(painted, expected)


def test_random_bytes() -> None:
    images = np.full((N, 20, 30, 3), 7, np.uint8)
    RandomErase(RandomEraseConfig(p=1.0, value="random"), 3, MEAN)(images, INDICES, 1)
    painted = images[(images != 7).any(axis=-1)]
    assert len(np.unique(painted)) == 256
    assert abs(painted.mean() - 127.5) < 2
    again = np.full((1, 20, 30, 3), 7, np.uint8)
    RandomErase(RandomEraseConfig(p=1.0, value="random"), 3, MEAN)(again, INDICES[9:10], 1)
    np.testing.assert_array_equal(again[0], images[9])


def test_gray_images_of_odd_means() -> None:
    images = np.full((1, 4, 4, 1), 7, np.uint8)
    RandomErase(RandomEraseConfig(size=99), 0, (1.7,))(images, INDICES[:1], 0)
    assert (images == 255).all()
