"""Dropout: which values it drops, depending on their position only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, make_context, random_input, run_backward, run_layer

from cnn_cli.nn.layers.dropout import Dropout
from cnn_cli.nn.types import Array


def mask(layer: Dropout, n: int = 4, **place: Any) -> Array:
    """Return what is kept of a batch of ones, at a place given by the contexts' fields."""
    y, _ = layer.forward(np.ones((n, *layer.in_shape)), *make_context(layer).but(**place))
    kept: Array = y != 0
    return kept


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(4, 3, 5), (7,)])
def test_gradients(shape: Any, p: float) -> None:
    layer = Dropout(shape, p=p)
    x = random_input(layer, 2, seed=1)
    gradcheck(layer, x, seed=1)
    gradcheck(layer, x, seed=1, training=False)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean_are_kept(p: float) -> None:
    layer = Dropout((32, 32, 16), p=p)
    x = np.ones((4, 32, 32, 16))
    y, _, _ = run_layer(layer, x, seed=2)
    kept = y != 0
    # Five standard deviations of the fraction and of the mean of 65,536 values.
    deviation = np.sqrt(p * (1 - p) / x.size)
    assert abs(kept.mean() - (1 - p)) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - p)
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-15)


def test_every_pixel_and_channel_is_dropped_apart() -> None:
    kept = mask(Dropout((16, 16, 8), p=0.5), n=3)
    assert kept.mean(axis=(1, 2)).min() > 0.3
    assert kept.mean(axis=(1, 2)).max() < 0.7
    columns = kept.reshape(3, 256, 8)
    correlation = np.corrcoef(columns.transpose(0, 2, 1).reshape(24, 256))
    assert np.abs(correlation - np.eye(24)).max() < 0.35


def test_masks_differ_by_image_step_layer_and_seed() -> None:
    layer = Dropout((8, 8, 4))
    masks = [mask(layer), mask(layer, step=1), mask(layer, index=1), mask(layer, seed=1)]
    images = np.concatenate(masks)
    assert len({image.tobytes() for image in images}) == 16
    np.testing.assert_array_equal(mask(layer), masks[0])


def test_channels_dropped_change_from_step_to_step() -> None:
    layer = Dropout((64,))
    steps = np.stack([mask(layer, n=8, step=step) for step in range(50)])
    kept = steps.mean(axis=(0, 1))
    assert kept.min() > 0.3
    assert kept.max() < 0.7


@pytest.mark.parametrize("chunks", [[1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_chunks_change_nothing(chunks: list[int]) -> None:
    layer = Dropout((5, 3, 2), p=0.4)
    whole = mask(layer, n=5, step=3, offset=10)
    parts, start = [], 10
    for n in chunks:
        parts.append(mask(layer, n=n, step=3, offset=start))
        start += n
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_masks_do_not_depend_on_the_dtype() -> None:
    layer = Dropout((5, 3, 2))
    x = random_input(layer, 3, seed=1)
    single, _, _ = run_layer(layer, x, dtype=np.float32, seed=4)
    double, _, _ = run_layer(layer, x, dtype=np.float64, seed=4)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single != 0, double != 0)


def test_all_and_nothing() -> None:
    x = np.ones((2, 3, 3, 2))
    y, saved, ctx = run_layer(Dropout((3, 3, 2), p=1), x)
    assert (y == 0).all()
    dx, _ = run_backward(Dropout((3, 3, 2), p=1), x, saved, ctx)
    assert (dx == 0).all()
    y, saved, _ = run_layer(Dropout((3, 3, 2), p=0), x)
    assert (y == 1).all()
    assert saved is None


def test_evaluation_is_the_identity() -> None:
    layer = Dropout((4, 2), p=0.7)
    x = random_input(layer, 3, seed=1)
    y, saved, ctx = run_layer(layer, x, training=False)
    np.testing.assert_array_equal(y, x)
    assert saved is None
    assert layer.forward(x, *ctx.but(inplace=True))[0] is x
