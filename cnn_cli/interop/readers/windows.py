"""The windows of a convolution or pool in a foreign network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnn_cli.arithmetic import ceil_div
from cnn_cli.interop.readers.tensor_views import LayoutError
from cnn_cli.nn.types import Shape


def window_sizes(space: Shape, facts: Mapping[str, Any]) -> Shape:
    """Return rows and columns after a convolution or pool.

    Args:
        space: rows and columns before it.
        facts: kernel_size, stride, padding and optionally dilation and ceil_mode.

    Raises:
        LayoutError: it does not fit.
    """
    sizes = []
    for axis, size in enumerate(space):
        stride, kernel = facts["stride"][axis], facts["kernel_size"][axis]
        if facts["padding"] == "same":
            sizes.append(ceil_div(size, stride))
            continue
        before, after = facts["padding"][2 * axis : 2 * axis + 2]
        rest = size + before + after - (facts.get("dilation", (1, 1))[axis] * (kernel - 1) + 1)
        out = rest // stride + 1
        if facts.get("ceil_mode") and rest % stride and out * stride < size + before:
            out += 1  # unless it would start beyond the image
        if out < 1:
            raise LayoutError(f"a window of {kernel} does not fit into {size}")
        sizes.append(out)
    return tuple(sizes)
