"""The forward pass of a convolution in one pass, including the activation if it is a clamp.

`loops.direct` is compiled. The NumPy versions here are for tests; no network uses them.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.kernels import depthwise as taps
from cnn_cli.nn.kernels.activation import CLAMPS
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.kernels.im2col import im2col
from cnn_cli.nn.kernels.paths import CHANNELS
from cnn_cli.nn.types import Array, Scratch, Share


def pack(weight: Array, out: Array) -> None:
    """(kh, kw, c, o) -> (panels, kh·kw·c, `CHANNELS`): each panel's channels side by side.

    The last panel holds the last channels; the one before may hold some of them, too.
    """
    matrix = weight.reshape(-1, weight.shape[3])
    for panel, channels in enumerate(panel_channels(weight.shape[3])):
        out[panel] = matrix[:, channels]


def panel_channels(o: int) -> list[slice]:
    """Return the output channels of each panel."""
    starts = (min(start, o - CHANNELS) for start in range(0, o, CHANNELS))
    return [slice(start, start + CHANNELS) for start in starts]


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    geometry: Geometry,
    activation: int,
    scratch: Scratch,
    share: Share,
    y: Array,
) -> None:
    """(n, H, W, c) -> (n, oh, ow, o), writes `y`.

    Args:
        x: the padded images.
        weight: packed.
        bias: (o,).
        geometry: the sizes.
        activation: a key of `activation.CLAMPS`.
        scratch: gives uninitialized memory by name and shape.
        share: divides the work among threads; the NumPy version ignores it.
        y: contiguous.
    """
    columns = scratch("columns", (1, *y.shape[:3], *geometry.kernel_size, x.shape[3]))
    im2col(x, geometry.stride, geometry.dilation, 0, 0, columns)
    rows = columns.reshape(-1, weight.shape[1])
    for channels, panel in zip(panel_channels(y.shape[3]), weight, strict=True):
        y[..., channels] = (rows @ panel).reshape(*y.shape[:3], CHANNELS)
    _finish(bias, activation, y)


def depthwise(
    x: Array,
    weight: Array,
    bias: Array,
    geometry: Geometry,
    activation: int,
    scratch: Scratch,
    share: Share,
    y: Array,
) -> None:
    """(n, h, w, c) -> (n, oh, ow, c), writes `y`; x is not padded, `weight` (kh, kw, 1, c)."""
    taps.forward(x, weight, geometry, scratch, y)
    _finish(bias, activation, y)


def _finish(bias: Array, activation: int, y: Array) -> None:
    low, high = CLAMPS[activation]
    np.add(y, bias, out=y)
    np.maximum(y, low, out=y)
    np.minimum(y, high, out=y)
