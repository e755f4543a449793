"""Activation functions, elementwise: all arrays of one call have one shape, whatever it is.

They are contiguous. `y` is written and `dy` is overwritten with the gradient of x; `scratch` gives
memory for what is between.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, sqrt

import numpy as np

from cnn_cli.nn.kernels.erf import erf
from cnn_cli.nn.kernels.loops.activation import GELU, HARDSWISH, RELU, RELU6, SILU
from cnn_cli.nn.types import Array, Scratch

# Formulas of many steps go block by block, so that what is between stays in the second-level cache.
# Smaller blocks, which would fit the first, lose more in calls than they gain.
BLOCK = 32768
ROW = 1024


def activate(x: Array, kind: int, y: Array, scratch: Scratch) -> None:
    """Write the activation of x, of a kind of `loops.activation`, to y, which may be x itself."""
    if kind == RELU:
        relu(x, y)
    elif kind == SILU:
        silu(x, y, scratch)
    elif kind == GELU:
        gelu(x, y, scratch)
    elif kind == RELU6:
        relu6(x, y)
    elif kind == HARDSWISH:
        hardswish(x, y, scratch)
    elif y is not x:
        np.copyto(y, x)


def activate_backward(dy: Array, x: Array, kind: int, scratch: Scratch) -> None:
    """Multiply dy by the activation's derivative at x."""
    if kind == RELU:
        relu_backward(dy, x, scratch)
    elif kind == SILU:
        silu_backward(dy, x, scratch)
    elif kind == GELU:
        gelu_backward(dy, x, scratch)
    elif kind == RELU6:
        relu6_backward(dy, x, scratch)
    elif kind == HARDSWISH:
        hardswish_backward(dy, x, scratch)


def relu(x: Array, y: Array) -> None:
    """Write max(x, 0) to y, which may be x itself. A NaN stays."""
    _maximum(x, 0, y)


def relu_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Zero dy where y, or x, is not above 0."""
    positive = scratch("positive", dy.shape, np.bool_)
    np.greater(y, 0, out=positive)
    np.multiply(dy, positive, out=dy)


def relu6(x: Array, y: Array) -> None:
    """Write min(max(x, 0), 6) to y, which may be x itself. A NaN stays."""
    _maximum(x, 0, y)
    _minimum(y, 6, y)


def relu6_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Zero dy where y, or x, is not between 0 and 6."""
    inside, below = scratch("inside", (2, *dy.shape), np.bool_)
    np.greater(y, 0, out=inside)
    np.less(y, 6, out=below)
    np.logical_and(inside, below, out=inside)
    np.multiply(dy, inside, out=dy)


def hardswish(x: Array, y: Array, scratch: Scratch) -> None:
    """Write x·relu6(x + 3)/6 to y, which may be x itself."""
    work = scratch("work", (BLOCK,))
    for here in _blocks(x):
        xs, ys = x.reshape(-1)[here], y.reshape(-1)[here]
        gate = work[: xs.size]
        np.add(xs, 3, out=gate)
        relu6(gate, gate)
        # Before the product, which could overflow.
        np.multiply(gate, 1 / 6, out=gate)
        np.multiply(gate, xs, out=ys)


def hardswish_backward(dy: Array, x: Array, scratch: Scratch) -> None:
    """Multiply dy by 0 up to -3, by 1 from 3 on, and by x/3 + 1/2 between."""
    work, outside = scratch("work", (BLOCK,)), scratch("outside", (BLOCK,), np.bool_)
    for here in _blocks(x):
        xs, dys = x.reshape(-1)[here], dy.reshape(-1)[here]
        factor, where = work[: xs.size], outside[: xs.size]
        np.multiply(xs, 1 / 3, out=factor)
        np.add(factor, 0.5, out=factor)
        np.less_equal(xs, -3, out=where)
        np.copyto(factor, 0, where=where)
        np.greater_equal(xs, 3, out=where)
        np.copyto(factor, 1, where=where)
        np.multiply(dys, factor, out=dys)


def leaky_relu(x: Array, slope: float, y: Array, scratch: Scratch) -> None:
    """Write x where it is above 0 and slope·x elsewhere to y, which may be x itself."""
    scaled = np.multiply(x, slope, out=scratch("scaled", x.shape))
    larger = np.maximum if slope <= 1 else np.minimum
    larger(x, scaled, out=y)


def leaky_relu_backward(dy: Array, y: Array, slope: float, scratch: Scratch) -> None:
    """Multiply dy by the slope where y is not above 0.

    The slope is 0 or more, so that y has the sign of x.
    """
    positive = scratch("positive", dy.shape, np.bool_)
    factor = scratch("scaled", dy.shape)
    if slope <= 1:
        np.greater(y, 0, out=positive)
        np.copyto(factor, positive)
        _maximum(factor, slope, factor)
    else:
        np.less_equal(y, 0, out=positive)
        np.multiply(positive, slope, out=factor)
        _maximum(factor, 1, factor)
    np.multiply(dy, factor, out=dy)


def silu(x: Array, y: Array, scratch: Scratch) -> None:
    """Write x·sigmoid(x) to y, which may be x itself.

    sigmoid(x) = (1 + tanh(x/2))/2, which cannot overflow.
    """
    work = scratch("work", (BLOCK,))
    for here in _blocks(x):
        xs, ys = x.reshape(-1)[here], y.reshape(-1)[here]
        half = work[: xs.size]
        np.multiply(xs, 0.5, out=half)
        np.tanh(half, out=ys)
        np.add(ys, 1, out=ys)
        np.multiply(ys, half, out=ys)


def silu_backward(dy: Array, x: Array, scratch: Scratch) -> None:
    """Multiply dy by s·(1 + x·(1 - s)), s = sigmoid(x)."""
    work = scratch("work", (2, BLOCK))
    for here in _blocks(x):
        xs, dys = x.reshape(-1)[here], dy.reshape(-1)[here]
        s, factor = work[:, : xs.size]
        np.multiply(xs, 0.5, out=s)
        np.tanh(s, out=s)
        np.multiply(s, 0.5, out=s)
        np.add(s, 0.5, out=s)
        np.subtract(1, s, out=factor)
        np.multiply(factor, xs, out=factor)
        np.add(factor, 1, out=factor)
        np.multiply(factor, s, out=factor)
        np.multiply(dys, factor, out=dys)


def gelu(x: Array, y: Array, scratch: Scratch) -> None:
    """Write x·Phi(x) to y, which may be x itself.

    Phi(x) = (1 + erf(x/sqrt(2)))/2 is the normal distribution's function.
    """
    work = scratch("work", (3, BLOCK))
    for here in _blocks(x):
        xs, ys = x.reshape(-1)[here], y.reshape(-1)[here]
        phi = work[0, : xs.size]
        _normal_cdf(xs, phi, work[1:, : xs.size])
        np.multiply(phi, xs, out=ys)


def gelu_backward(dy: Array, x: Array, scratch: Scratch) -> None:
    """Multiply dy by Phi(x) + x·phi(x), phi the normal density."""
    work = scratch("work", (3, BLOCK))
    for here in _blocks(x):
        xs, dys = x.reshape(-1)[here], dy.reshape(-1)[here]
        factor, density = work[0, : xs.size], work[1, : xs.size]
        _normal_cdf(xs, factor, work[1:, : xs.size])
        with np.errstate(over="ignore"):
            np.multiply(xs, xs, out=density)
        np.multiply(density, -0.5, out=density)
        np.exp(density, out=density)
        np.multiply(density, xs, out=density)
        np.multiply(density, 1 / sqrt(2 * pi), out=density)
        np.add(factor, density, out=factor)
        np.multiply(dys, factor, out=dys)


def _normal_cdf(x: Array, y: Array, work: Array) -> None:
    """Write (1 + erf(x/sqrt(2)))/2 to y. `work`: scratch, 2 rows like x."""
    scaled, squares = work
    np.multiply(x, sqrt(0.5), out=scaled)
    erf(scaled, y, squares)
    np.multiply(y, 0.5, out=y)
    np.add(y, 0.5, out=y)


def _blocks(x: Array) -> Iterator[slice]:
    """Slices of the flattened x of at most BLOCK elements."""
    for start in range(0, x.size, BLOCK):
        yield slice(start, min(start + BLOCK, x.size))


def _maximum(x: Array, bound: float, y: Array) -> None:
    """Write max(x, bound) to y, which may be x itself."""
    _by_rows(np.maximum, x, bound, y)


def _minimum(x: Array, bound: float, y: Array) -> None:
    """Write min(x, bound) to y, which may be x itself."""
    _by_rows(np.minimum, x, bound, y)


def _by_rows(choose: np.ufunc, x: Array, bound: float, y: Array) -> None:
    """Write choose(x, bound) to y.

    NumPy's maximum is vectorized for two arrays, not for an array and a number: twice as fast.
    """
    row = np.full(ROW, bound, x.dtype)
    flat, out = x.reshape(-1), y.reshape(-1)
    whole = x.size - x.size % ROW
    choose(flat[:whole].reshape(-1, ROW), row, out=out[:whole].reshape(-1, ROW))
    choose(flat[whole:], row[: x.size - whole], out=out[whole:])
