"""Resampling of bytes, against Pillow's resize of a crop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.resample import bilinear_weights

SIZES = [  # of the part, and wanted
    ((7, 9), (5, 6)),
    ((7, 9), (12, 20)),
    ((9, 30), (9, 4)),
    ((30, 5), (4, 5)),
    ((1, 1), (3, 2)),
    ((2, 1), (1, 1)),
    ((6, 6), (6, 6)),
    ((40, 41), (3, 2)),
]


@pytest.mark.parametrize("kernels", ["loops", "fast"])
@pytest.mark.parametrize(("part", "size"), SIZES)
@pytest.mark.parametrize("rows_first", [True, False])
def test_the_bits_are_pillows(
    backend: Callable[[str], Kernels],
    kernels: str,
    part: tuple[int, int],
    size: tuple[int, int],
    rows_first: bool,
) -> None:
    (rows, columns), (height, width) = part, size
    x = np.random.default_rng(0).integers(0, 256, (rows + 3, columns + 4, 3), np.uint8)
    x[0], x[-1] = 0, 255
    image = Image.fromarray(x[2 : 2 + rows, 1 : 1 + columns])
    between = (width, rows) if rows_first else (columns, height)
    for each in (between, (width, height)):  # one axis at a time, so that Pillow has no choice
        image = image.resize(each, Image.Resampling.BILINEAR)
    expected = np.asarray(image)
    resample = backend(kernels).resample
    assert resample is not None
    x.flags.writeable = False
    for mirror in (False, True):
        out = np.empty((height, width, 3), np.uint8)
        resample(x, (2, 1, rows, columns), out, mirror=mirror, rows_first=rows_first)
        np.testing.assert_array_equal(out, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 305])
@pytest.mark.parametrize("size", [1, 7, 224])
def test_weights_add_up_and_stay_inside(length: int, size: int) -> None:
    first, weight = bilinear_weights(length, size)
    assert first.min() >= 0
    assert (first + weight.shape[1]).max() <= length
    assert (weight >= 0).all()
    assert np.abs(weight.sum(axis=1) - (1 << 22)).max() <= weight.shape[1]


def test_numpy_leaves_it_to_pillow(backend: Callable[[str], Kernels]) -> None:
    assert backend("numpy").resample is None
