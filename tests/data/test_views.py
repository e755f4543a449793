"""Views of an image: their pixels and weights."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_cli.cli.shared.options import TTA as OFFERED
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.views import TTA, make_views
from cnn_cli.inference.classifier import ONE_VIEW

IMAGES = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
PRE = Preprocess(5, 6, 3)


def test_the_command_offers_them_all() -> None:
    assert (ONE_VIEW, *TTA) == OFFERED


@pytest.mark.parametrize("name", TTA)
def test_weights_add_up_and_every_view_has_its_mirror_image(name: str) -> None:
    views = make_views(name, Preprocess(32, 48, 3))
    assert sum(view.weight for view in views.views) == pytest.approx(1)
    images = np.random.default_rng(0).integers(0, 256, (2, *views.pre.shape), dtype=np.uint8)
    shown = list(views.of(images))
    for (weight, pixels), (mirror_weight, mirror) in zip(shown[::2], shown[1::2], strict=True):
        assert weight == mirror_weight
        assert pixels.shape == mirror.shape == (2, 32, 48, 3)
        assert pixels.flags.c_contiguous
        assert mirror.flags.c_contiguous
        np.testing.assert_array_equal(pixels, mirror[:, :, ::-1])


def test_hflip_shows_the_image_and_its_mirror_image() -> None:
    views = make_views("hflip", PRE)
    assert views.pre == PRE
    (weight, first), _ = views.of(IMAGES)
    assert weight == 0.5
    np.testing.assert_array_equal(first, IMAGES)


def test_multicrop_moves_by_one_pixel_of_32_reflecting_the_edge() -> None:
    """As in arXiv:2404.00498: half of the weight on the unshifted views, half on the shifted
    ones.
    """
    views = make_views("multicrop", PRE)
    assert views.pre == PRE
    shown = list(views.of(IMAGES))
    assert [weight for weight, _ in shown] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    np.testing.assert_array_equal(shown[0][1], IMAGES)
    down_right, up_left = shown[2][1], shown[4][1]
    for row in range(5):
        for column in range(6):
            # Beyond the edge comes the pixel next to the edge.
            above = row - 1 if row else 1
            left = column - 1 if column else 1
            np.testing.assert_array_equal(down_right[:, row, column], IMAGES[:, above, left])
            below = row + 1 if row < 4 else 3
            right = column + 1 if column < 5 else 4
            np.testing.assert_array_equal(up_left[:, row, column], IMAGES[:, below, right])


@pytest.mark.parametrize(("side", "margin"), [(1, 1), (28, 1), (32, 1), (224, 7)])
def test_the_shift_grows_with_the_image(side: int, margin: int) -> None:
    views = make_views("multicrop", Preprocess(side, side, 1))
    assert views.margin == margin
    for _, pixels in views.of(np.zeros((1, side, side, 1), np.uint8)):
        assert pixels.shape == (1, side, side, 1)


def test_tencrop_takes_corners_and_the_middle_of_a_larger_image() -> None:
    views = make_views("tencrop", Preprocess(224, 224, 3, "squash"))
    assert views.pre == Preprocess(256, 256, 3, "squash")
    places = [(view.row, view.column) for view in views.views[::2]]
    assert places == [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="vflip"):
        make_views("vflip", PRE)


@pytest.mark.parametrize("kind", TTA)
def test_the_mean_of_views_that_are_alike_is_each_of_them(kind: str) -> None:
    views = make_views(kind, Preprocess(8, 8, 1))
    images = np.full((2, views.pre.height, views.pre.width, 1), 5, np.uint8)
    mean = views.mean(images, lambda x: x.reshape(2, -1).astype(float))
    np.testing.assert_allclose(mean, np.full((2, 64), 5.0))
