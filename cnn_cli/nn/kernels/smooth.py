"""Activation functions that few networks use often enough to be worth a loop, elementwise.

All arrays of one call are contiguous and of one shape. `y` is written, and may be x itself; `dy` is
overwritten with the gradient of x; `scratch` gives memory for what is between.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array, Scratch


def sigmoid(x: Array, y: Array) -> None:
    """Write 1/(1 + exp(-x)) = (1 + tanh(x/2))/2, which cannot overflow."""
    np.multiply(x, 0.5, out=y)
    np.tanh(y, out=y)
    np.multiply(y, 0.5, out=y)
    np.add(y, 0.5, out=y)


def sigmoid_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Multiply dy by y·(1 - y)."""
    factor = np.subtract(1, y, out=scratch("factor", y.shape))
    np.multiply(factor, y, out=factor)
    np.multiply(dy, factor, out=dy)


def hardsigmoid(x: Array, y: Array) -> None:
    """Write min(max(x + 3, 0), 6)/6."""
    np.multiply(x, 1 / 6, out=y)
    np.add(y, 0.5, out=y)
    np.clip(y, 0, 1, out=y)


def hardsigmoid_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Divide dy by 6 where y is between 0 and 1, and zero it elsewhere."""
    inside, below = scratch("inside", (2, *dy.shape), np.bool_)
    np.greater(y, 0, out=inside)
    np.less(y, 1, out=below)
    np.logical_and(inside, below, out=inside)
    np.multiply(dy, inside, out=dy)
    np.multiply(dy, 1 / 6, out=dy)


def tanh_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Multiply dy by 1 - y²."""
    factor = np.multiply(y, y, out=scratch("factor", y.shape))
    np.subtract(1, factor, out=factor)
    np.multiply(dy, factor, out=dy)


def elu(x: Array, alpha: float, scale: float, y: Array, scratch: Scratch) -> None:
    """Write scale·x where x is above 0, scale·alpha·(exp(x) - 1) elsewhere."""
    below = np.minimum(x, 0, out=scratch("factor", x.shape))
    np.expm1(below, out=below)
    np.multiply(below, alpha, out=below)
    np.maximum(x, 0, out=y)
    np.add(y, below, out=y)
    np.multiply(y, scale, out=y)


def elu_backward(dy: Array, y: Array, alpha: float, scale: float, scratch: Scratch) -> None:
    """Multiply dy by scale where y is above 0, by y + scale·alpha elsewhere; alpha above 0."""
    factor = np.minimum(y, 0, out=scratch("factor", y.shape))
    np.add(factor, scale * alpha, out=factor)
    positive = np.greater(y, 0, out=scratch("inside", y.shape, np.bool_))
    np.copyto(factor, scale, where=positive)
    np.multiply(dy, factor, out=dy)


def softplus(x: Array, y: Array, scratch: Scratch) -> None:
    """Write log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""
    below = np.absolute(x, out=scratch("factor", x.shape))
    np.negative(below, out=below)
    np.exp(below, out=below)
    np.log1p(below, out=below)
    np.maximum(x, 0, out=y)
    np.add(y, below, out=y)


def softplus_backward(dy: Array, x: Array, scratch: Scratch) -> None:
    """Multiply dy by the sigmoid of x."""
    factor = scratch("factor", x.shape)
    sigmoid(x, factor)
    np.multiply(dy, factor, out=dy)


def softsign(x: Array, y: Array, scratch: Scratch) -> None:
    """Write x/(1 + |x|)."""
    below = np.absolute(x, out=scratch("factor", x.shape))
    np.add(below, 1, out=below)
    np.divide(x, below, out=y)


def softsign_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Multiply dy by (1 - |y|)², which is 1/(1 + |x|)²."""
    factor = np.absolute(y, out=scratch("factor", y.shape))
    np.subtract(1, factor, out=factor)
    np.multiply(factor, factor, out=factor)
    np.multiply(dy, factor, out=dy)
