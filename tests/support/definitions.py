"""Layers by their definition, value by value: all kernels are tested against them."""

from __future__ import annotations

import math
from math import erf, exp, expm1, log1p, pi, sqrt

from cnn_cli.nn.types import Array, Pair

SELU = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


def relu(x: float) -> float:
    return x if x > 0 else 0.0


def relu_derivative(x: float) -> float:
    return 1.0 if x > 0 else 0.0


def leaky_relu(x: float, slope: float) -> float:
    return x if x > 0 else slope * x


def leaky_relu_derivative(x: float, slope: float) -> float:
    return 1.0 if x > 0 else slope


def sigmoid(x: float) -> float:
    if x < 0:
        return exp(x) / (1 + exp(x))
    return 1 / (1 + exp(-x))


def sigmoid_derivative(x: float) -> float:
    return sigmoid(x) * sigmoid(-x)


def relu6(x: float) -> float:
    return min(max(x, 0.0), 6.0)


def relu6_derivative(x: float) -> float:
    return 1.0 if 0 < x < 6 else 0.0


def hardsigmoid(x: float) -> float:
    return relu6(x + 3) / 6


def hardsigmoid_derivative(x: float) -> float:
    return 1 / 6 if -3 < x < 3 else 0.0


def hardswish(x: float) -> float:
    return x * relu6(x + 3) / 6


def hardswish_derivative(x: float) -> float:
    if x <= -3:
        return 0.0
    return 1.0 if x >= 3 else x / 3 + 1 / 2


def tanh(x: float) -> float:
    return math.tanh(x)


def tanh_derivative(x: float) -> float:
    return 1 - math.tanh(x) ** 2


def elu(x: float, alpha: float, scale: float) -> float:
    return scale * (x if x > 0 else alpha * expm1(x))


def elu_derivative(x: float, alpha: float, scale: float) -> float:
    return scale * (1.0 if x > 0 else alpha * exp(x))


def selu(x: float) -> float:
    return elu(x, *SELU)


def selu_derivative(x: float) -> float:
    return elu_derivative(x, *SELU)


def softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


def softplus_derivative(x: float) -> float:
    return sigmoid(x)


def softsign(x: float) -> float:
    return x / (1 + abs(x))


def softsign_derivative(x: float) -> float:
    return 1 / (1 + abs(x)) ** 2


def silu(x: float) -> float:
    return x * sigmoid(x)


def silu_derivative(x: float) -> float:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


def gelu(x: float) -> float:
    return x * (1 + erf(x / sqrt(2))) / 2


def gelu_derivative(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi)


def moments(x: Array, n: int, first: int, end: int) -> tuple[float, float]:
    """Return mean and biased variance of the channels from `first` to `end` of x[n], (rows, c)."""
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
    """Write the normalized x, times weight (c,) plus bias (c,), to y.

    x and y are (n, rows, c). The channels are divided into equal groups, and each group of each n
    is normalized separately: batchnorm has all pixels of the batch in one n and one channel per
    group.
    """
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
    """Write the gradients of x, weight (c,) and bias (c,); shapes as for `normalize`."""
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


def avg_pool(
    x: Array, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, y: Array
) -> None:
    """Write each window's mean to y: x is (n, h, w, c), y (n, ho, wo, c).

    Windows start at o·stride - padding and are kernel_size long, both pairs of (height, width).
    """
    images, h, w, channels = x.shape
    _, ho, wo, _ = y.shape
    for oi in range(ho):
        for oj in range(wo):
            top, bottom, rows = _span(oi, h, kernel_size[0], stride[0], padding[0])
            left, right, columns = _span(oj, w, kernel_size[1], stride[1], padding[1])
            if not count_include_pad:
                rows, columns = bottom - top, right - left
            for n in range(images):
                for c in range(channels):
                    total = 0.0
                    for row in range(top, bottom):
                        for column in range(left, right):
                            total += x[n, row, column, c]
                    y[n, oi, oj, c] = total / (rows * columns)


def avg_pool_backward(
    dy: Array, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, dx: Array
) -> None:
    """Write to dx each window's gradient, distributed over its values."""
    images, h, w, channels = dx.shape
    _, ho, wo, _ = dy.shape
    dx[...] = 0
    for oi in range(ho):
        for oj in range(wo):
            top, bottom, rows = _span(oi, h, kernel_size[0], stride[0], padding[0])
            left, right, columns = _span(oj, w, kernel_size[1], stride[1], padding[1])
            if not count_include_pad:
                rows, columns = bottom - top, right - left
            for n in range(images):
                for c in range(channels):
                    for row in range(top, bottom):
                        for column in range(left, right):
                            dx[n, row, column, c] += dy[n, oi, oj, c] / (rows * columns)


def _span(o: int, size: int, kernel: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Return the first and past-the-last element of a window, and its length including padding."""
    start = o * stride - padding
    end = min(start + kernel, size + padding)
    return max(start, 0), min(end, size), end - start
