"""Normalization, one value at a time: what `kernels.norm` and its layers are proved against.

x, y, dy and dx are (n, rows, c). The channels are cut into equal groups and each group of each n
is normalized by itself: batchnorm has all pixels of the batch in one n and a channel a group.
"""

from __future__ import annotations

from math import sqrt

from cnn_cli.nn.types import Array


def moments(x: Array, n: int, first: int, end: int) -> tuple[float, float]:
    """Mean and biased variance of the channels from `first` to `end` of one n."""
    rows = x.shape[1]
    count = rows * (end - first)
    total = 0.0
    for r in range(rows):
        for c in range(first, end):
            total += x[n, r, c]
    mean = total / count
    squares = 0.0
    for r in range(rows):
        for c in range(first, end):
            squares += (x[n, r, c] - mean) ** 2
    return mean, squares / count


def normalize(x: Array, groups: int, weight: Array, bias: Array, eps: float, y: Array) -> None:
    """Write the normalized x, times weight (c,) plus bias (c,), to y."""
    size = x.shape[2] // groups
    for n in range(x.shape[0]):
        for g in range(groups):
            mean, var = moments(x, n, g * size, (g + 1) * size)
            for r in range(x.shape[1]):
                for c in range(g * size, (g + 1) * size):
                    xhat = (x[n, r, c] - mean) / sqrt(var + eps)
                    y[n, r, c] = xhat * weight[c] + bias[c]


def normalize_backward(
    dy: Array,
    x: Array,
    groups: int,
    weight: Array,
    eps: float,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write the gradients of x, weight (c,) and bias (c,)."""
    size = x.shape[2] // groups
    count = x.shape[1] * size
    dweight[...] = 0
    dbias[...] = 0
    for n in range(x.shape[0]):
        for g in range(groups):
            mean, var = moments(x, n, g * size, (g + 1) * size)
            invstd = 1 / sqrt(var + eps)
            sum_dxhat = 0.0
            sum_dxhat_xhat = 0.0
            for r in range(x.shape[1]):
                for c in range(g * size, (g + 1) * size):
                    xhat = (x[n, r, c] - mean) * invstd
                    dweight[c] += dy[n, r, c] * xhat
                    dbias[c] += dy[n, r, c]
                    sum_dxhat += dy[n, r, c] * weight[c]
                    sum_dxhat_xhat += dy[n, r, c] * weight[c] * xhat
            for r in range(x.shape[1]):
                for c in range(g * size, (g + 1) * size):
                    xhat = (x[n, r, c] - mean) * invstd
                    dxhat = dy[n, r, c] * weight[c]
                    dx[n, r, c] = invstd * (dxhat - (sum_dxhat + xhat * sum_dxhat_xhat) / count)
