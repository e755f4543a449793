"""The heat map over an image."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.report.pictures.overlay import colors, overlay


def test_colors_are_those_of_magma() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    steps = np.linspace(0, 1, 256)
    theirs = matplotlib.colormaps["magma"](steps)[:, :3] * 255
    assert np.abs(colors(steps) - theirs).max() < 2.5
    assert (np.diff(colors(steps).sum(axis=1)) > 0).all(), "brighter is more"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_is_brightest_where_heat_is(channels: int) -> None:
    pixels = np.full((20, 30, channels), 100, np.uint8)
    heat = np.zeros((2, 3))
    heat[1, 2] = 1
    picture = overlay(pixels, heat)
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    light = picture.sum(axis=2, dtype=int)
    assert light[-1, -1] == light.max() > 2 * light[0, 0]
    np.testing.assert_array_equal(picture[0, 0], [40, 40, 42])
