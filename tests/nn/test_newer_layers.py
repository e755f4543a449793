"""Layers of particular networks: definitions, gradients and errors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from gradcheck import gradcheck, random_input, run_layer

from cnn_cli.nn.layers.adaptive_avgpool import AdaptiveAvgPool
from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.channel_conv import ChannelConv
from cnn_cli.nn.layers.channel_shuffle import ChannelShuffle
from cnn_cli.nn.layers.eca import EfficientChannelAttention
from cnn_cli.nn.layers.layer_scale import LayerScale
from cnn_cli.nn.layers.layernorm import LayerNorm
from cnn_cli.nn.layers.lrn import LocalResponseNorm
from cnn_cli.nn.layers.pad import Pad
from cnn_cli.nn.layers.part import ChannelPart
from cnn_cli.nn.layers.radix_softmax import RadixSoftmax
from cnn_cli.nn.layers.slice import ChannelSlice
from cnn_cli.nn.layers.upsample import Upsample
from cnn_cli.nn.types import Shape


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 1, 2), (5,)])
def test_layernorm(shape: Shape) -> None:
    layer = LayerNorm(shape, eps=1e-3)
    params = {"weight": np.linspace(0.5, 2, shape[-1]), "bias": np.linspace(-1, 1, shape[-1])}
    x = random_input(layer, 3, seed=1)
    y, _, _ = run_layer(layer, x, params=params)
    assert isinstance(x, np.ndarray)
    for place in np.ndindex(*x.shape[:-1]):
        pixel = x[place]
        normal = (pixel - pixel.mean()) / np.sqrt(pixel.var() + 1e-3)
        np.testing.assert_allclose(y[place], normal * params["weight"] + params["bias"], rtol=1e-9)
    gradcheck(layer, x, seed=2, params=params)


@pytest.mark.parametrize("shape", [(3, 2, 4), (5,)])
def test_layer_scale(shape: Shape) -> None:
    layer = LayerScale(shape, init=0.25)
    weight = np.linspace(-1, 2, shape[-1])
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x, params={"weight": weight})
    np.testing.assert_array_equal(y, x * weight)
    gradcheck(layer, x, seed=1)
    assert layer.params[0].value == 0.25


@pytest.mark.parametrize("size", [(2, 3), (1, 1), (5, 4), (7, 9), (4, 2)])
def test_adaptive_avgpool(size: tuple[int, int]) -> None:
    layer = AdaptiveAvgPool((5, 4, 3), output_size=size)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    for i, j in np.ndindex(*size):
        rows = slice(i * 5 // size[0], -(-(i + 1) * 5 // size[0]))
        columns = slice(j * 4 // size[1], -(-(j + 1) * 4 // size[1]))
        np.testing.assert_allclose(y[:, i, j], x[:, rows, columns].mean(axis=(1, 2)), rtol=1e-12)
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_channel_shuffle(groups: int) -> None:
    layer = ChannelShuffle((2, 3, 6), groups=groups)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    order = [group * (6 // groups) + i for i in range(6 // groups) for group in range(groups)]
    np.testing.assert_array_equal(y, x[..., order])
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_part(index: int) -> None:
    layer = ChannelPart((2, 3, 6), parts=3, index=index)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    np.testing.assert_array_equal(y, x[..., 2 * index : 2 * index + 2])
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("shape", [(2, 3, 6), (6,)])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 2), (2, None), (1, 6), (3, 4)])
def test_slice(shape: Shape, start: int, stop: int | None) -> None:
    layer = ChannelSlice(shape, start=start, stop=stop)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    np.testing.assert_array_equal(y, x[..., start:stop])
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("shape", [(2, 3, 6), (6,)])
@pytest.mark.parametrize("radix", [1, 2, 6])
def test_radix_softmax(shape: Shape, radix: int) -> None:
    layer = RadixSoftmax(shape, radix=radix)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    for c in range(6 // radix):
        scores = np.exp(x[..., c :: 6 // radix])
        expected = scores / scores.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(y[..., c :: 6 // radix], expected, rtol=1e-12)
    gradcheck(layer, x, seed=1)


def test_radix_softmax_of_large_scores() -> None:
    layer = RadixSoftmax((4,), radix=2)
    y, _, _ = run_layer(layer, np.array([[1e4, -1e4, 1e4, 1e4]]))
    np.testing.assert_array_equal(y, [[0.5, 0, 0.5, 1]])


@pytest.mark.parametrize(("channels", "kernel_size"), [(6, 3), (2, 5), (1, 1)])
def test_channel_conv(channels: int, kernel_size: int) -> None:
    layer = ChannelConv((channels,), kernel_size=kernel_size)
    weight = np.linspace(-1, 2, kernel_size)
    x = random_input(layer, 3, seed=1)
    y, _, _ = run_layer(layer, x, params={"weight": weight.reshape(1, 1, -1)})
    expected = np.zeros_like(y)
    for i in range(channels):
        for tap in range(kernel_size):
            if 0 <= (at := i + tap - kernel_size // 2) < channels:
                expected[:, i] += x[:, at] * weight[tap]
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize(
    ("channels", "kernel_size"), [(1, 3), (16, 3), (32, 3), (64, 3), (100, 3), (256, 5), (2048, 7)]
)
def test_ecas_kernel_is_its_papers(channels: int, kernel_size: int) -> None:
    chain = EfficientChannelAttention((4, 4, channels)).chain
    assert chain[1].arguments == {"kernel_size": kernel_size}
    assert [each.kind for each in chain] == ["global_avgpool", "channel_conv", "sigmoid"]


@pytest.mark.parametrize("scale", [(2, 2), (1, 3)])
def test_upsample(scale: tuple[int, int]) -> None:
    layer = Upsample((2, 3, 4), scale=scale)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert y.shape[1:3] == (2 * scale[0], 3 * scale[1])
    for i, j in np.ndindex(*y.shape[1:3]):
        np.testing.assert_array_equal(y[:, i, j], x[:, i // scale[0], j // scale[1]])
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_lrn(size: int) -> None:
    layer = LocalResponseNorm((2, 1, 5), size=size, alpha=0.5, beta=0.6, k=1.5)
    x = random_input(layer, 3, seed=1)
    y, _, _ = run_layer(layer, x)
    for c in range(5):
        around = x[..., max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        base = 1.5 + 0.5 * (around**2).sum(axis=-1) / size
        np.testing.assert_allclose(y[..., c], x[..., c] / base**0.6, rtol=1e-12)
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("padding", [(1, 2), (0, 2, 3, 1), (0, 0)])
def test_pad(padding: Any, mode: Literal["zeros", "reflect"]) -> None:
    layer = Pad((3, 4, 2), padding=padding, padding_mode=mode)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    top, bottom, left, right = layer.padding
    numpys: Literal["constant", "reflect"] = "reflect" if mode == "reflect" else "constant"
    edges = [(0, 0), (top, bottom), (left, right), (0, 0)]
    np.testing.assert_array_equal(y, np.pad(x, edges, mode=numpys))
    gradcheck(layer, x, seed=1)


@pytest.mark.parametrize("padding", [(-1, -1), (-2, 1, 2, -3), (0, -2, -1, 0)])
def test_rows_and_columns_cut_off(padding: Any) -> None:
    layer = Pad((3, 4, 2), padding=padding)
    x = random_input(layer, 2, seed=1)
    y, _, _ = run_layer(layer, x)
    assert isinstance(x, np.ndarray)
    top, bottom, left, right = layer.padding
    kept = x[:, max(-top, 0) : 3 + min(bottom, 0), max(-left, 0) : 4 + min(right, 0)]
    edges = [(0, 0), *((max(a, 0), max(b, 0)) for a, b in ((top, bottom), (left, right))), (0, 0)]
    np.testing.assert_array_equal(y, np.pad(kept, edges))
    gradcheck(layer, x, seed=1)


def test_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="padding by reflection must not be below 0"):
        Pad((3, 4, 2), padding=(-1, 1), padding_mode="reflect")
    with pytest.raises(ShapeError, match="padding must leave a row and a column of the map"):
        Pad((3, 4, 2), padding=(-1, -2, 5, 5))
    with pytest.raises(ShapeError, match="stop 7 must be at most the number of channels 6"):
        ChannelSlice((2, 3, 6), start=1, stop=7)
    with pytest.raises(ShapeError, match="start 6 must be below 6"):
        ChannelSlice((2, 3, 6), start=6)
    with pytest.raises(ShapeError, match="radix 4 must divide the number of channels 6"):
        RadixSoftmax((6,), radix=4)
    with pytest.raises(ShapeError, match="padding by reflection must be smaller than the map"):
        Pad((3, 4, 2), padding=(0, 3, 0, 0), padding_mode="reflect")
    with pytest.raises(ShapeError, match="a convolution over channels needs a vector of them"):
        ChannelConv((2, 3, 6), kernel_size=3)
    with pytest.raises(ShapeError, match="kernel_size must be odd, not 4"):
        ChannelConv((6,), kernel_size=4)
    with pytest.raises(ShapeError, match="groups 4 must divide the number of channels 6"):
        ChannelShuffle((2, 3, 6), groups=4)
    with pytest.raises(ShapeError, match="4 branches must divide the number of channels 6"):
        ChannelPart((2, 3, 6), parts=4, index=0)
    with pytest.raises(ShapeError, match="index 3 must be below 3"):
        ChannelPart((2, 3, 6), parts=3, index=3)
