"""Choose the path of a convolution by its shape alone: the same for every batch and machine."""

from __future__ import annotations

from typing import Literal

from cnn_cli.arithmetic import ceil_div
from cnn_cli.nn.kernels.geometry import Geometry
from cnn_cli.nn.types import Shape

Path = Literal["winograd", "im2col", "taps", "pointwise", "depthwise", "direct"]
Backend = Literal["numpy", "fast"]

CHANNELS = 16
"""Output channels that the path `direct` computes together: two registers of AVX2, one of AVX-512,
four of NEON."""


LEAST_OUTPUTS = 16
"""Pixels of an output from which on training packs weights for the path `direct`."""


def choose_path(geometry: Geometry, backend: Backend = "numpy") -> Path:
    """Return the fastest path for forward and backward together.

    Args:
        geometry: the sizes.
        backend: what computes Winograd's transforms: NumPy, or compiled loops in a third of the
            time.

    Returns:
        `depthwise` if no channels are summed, so that a matrix product is useless; `pointwise` if
        each window is one pixel; else the fastest of `winograd` (`kernels.winograd`), `taps`
        (`kernels.taps`) and `im2col` (`kernels.conv`). `direct` has no backward pass, see
        `forward_path` and `predicting_path`.

    The bounds were measured on one thread of a processor with AVX-512, for chunks of 1 to 16
    images.
    """
    (oh, ow), o = geometry.out_size, geometry.out_channels
    kh, kw, c, _ = geometry.weight_shape
    if geometry.depthwise:
        return "depthwise"
    if geometry.pointwise:
        return "pointwise"
    if can_take("winograd", geometry):
        # Tiles extend over the edges: 7×7 outputs are computed as 8×8, 1.3 times as many.
        tiles = ceil_div(oh, 4) * ceil_div(ow, 4)
        computed = 16 * tiles / (oh * ow)
        # Transformed weights are four times larger; few outputs do not justify reading and
        # transforming them, unless an image saves so many products for each pair of channels that
        # about six images in a chunk do.
        saved = 9 * oh * ow - 36 * tiles
        few = c * o > 2000 * oh * ow and (saved < 250 or c * o > 700 * saved)
        if backend == "fast":
            pays = min(c, o) >= 8 and computed < 2.6
        else:
            pays = min(c, o) >= 12 and computed < min(1 + min(c, o) / 64, 1.8)
        if pays and not few:
            return "winograd"
    if can_take("taps", geometry) and geometry.stride[1] == 1 and kh * kw * c <= 32 and ow >= 16:
        # A few taps of long rows are copied faster than many short windows.
        return "taps"
    return "im2col"


def predicting_path(path: Path, geometry: Geometry, backend: Backend) -> Path:
    """Return the fastest path for the forward pass alone, given the result of `choose_path`."""
    if backend == "fast" and path != "winograd" and can_take("direct", geometry):
        return "direct"
    return path


def forward_path(path: Path, geometry: Geometry, backend: Backend) -> Path:
    """Return the fastest path for the forward pass of training, given the result of `choose_path`.

    It packs the weights once a step, which few outputs do not justify.
    """
    if geometry.out_size[0] * geometry.out_size[1] < LEAST_OUTPUTS:
        return path
    return predicting_path(path, geometry, backend)


def packed_shape(weight_shape: Shape) -> Shape:
    """Return the shape of the path `direct`'s packed weights: (panels, kh·kw·c, `CHANNELS`)."""
    kh, kw, c, o = weight_shape
    return ceil_div(o, CHANNELS), kh * kw * c, CHANNELS


def can_take(path: Path, geometry: Geometry) -> bool:
    """Whether a convolution of that shape can take the path, fast or not."""
    match path:
        case "winograd":
            sizes = geometry.kernel_size, geometry.stride, geometry.dilation, geometry.groups
            inside = all(0 <= side <= 2 for side in geometry.padding)
            return inside and sizes == ((3, 3), (1, 1), (1, 1), 1)
        case "taps":
            return geometry.groups == 1
        case "pointwise":
            return geometry.pointwise
        case "depthwise":
            return geometry.depthwise
        case "direct":
            one_each = geometry.depthwise and geometry.out_channels == geometry.groups
            together = (geometry.groups, geometry.dilation[1]) == (1, 1)
            return (one_each or together) and geometry.out_channels >= CHANNELS
        case "im2col":
            return True
