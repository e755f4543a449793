"""Activation functions in NumPy, and a table with everything else about each.

They are elementwise: all arrays of a call are contiguous and of one shape. `forward` writes y,
which may be x; `backward` overwrites dy with the gradient of x; `scratch` provides memory for
intermediate results. To add an activation, add its two functions and its row in `_TABLE`; a
layer with arguments also needs a class in `layers.activation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, pi, sqrt
from typing import Literal

import numpy as np

from cnn_cli.nn.kernels.erf import erf
from cnn_cli.nn.kernels.loops import activation as loops
from cnn_cli.nn.types import Array, Scratch
from cnn_cli.structs import Struct

# Longer formulas run block by block, so that intermediate results stay in the second-level cache.
# Smaller blocks, for the first-level cache, cost more calls than they gain.
BLOCK = 32768
ROW = 1024

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class ActivationFunction(Struct):
    """An activation; its `numbers` are its layer's arguments.

    Attributes:
        kind: name of the layer in a config.
        name: name of the layer in PyTorch.
        formula: the formula, as shown on pages and in editors.
        forward: (x, y, scratch, *numbers), writes y.
        backward: (dy, saved, scratch, *numbers), overwrites dy.
        reads: what `backward` takes as `saved`: x or y. With a `loop`, x is possible too.
        onnx: the equivalent ONNX operator without attributes, or "".
        loop: its number in `loops.activation.activate`, which normalizations use too, or NONE.
        loop_is_float32: that loop supports float32 only.
        loops: compiled forms of its own, (x, y, *numbers) and (dy, saved, *numbers), for flat
            arrays.
    """

    kind: str
    name: str
    formula: str
    forward: Callable[..., None]
    backward: Callable[..., None]
    reads: Literal["x", "y"]
    onnx: str = ""
    loop: int = loops.NONE
    loop_is_float32: bool = False
    loops: tuple[Callable[..., None], Callable[..., None]] | None = None


def relu(x: Array, y: Array, scratch: Scratch) -> None:
    """Write max(x, 0) to y; NaN is preserved."""
    _maximum(x, 0, y)


def relu_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Set dy to zero where y (or x) is not above 0."""
    positive = scratch("positive", dy.shape, np.bool_)
    np.greater(y, 0, out=positive)
    np.multiply(dy, positive, out=dy)


def relu6(x: Array, y: Array, scratch: Scratch) -> None:
    """Write min(max(x, 0), 6) to y; NaN is preserved."""
    _maximum(x, 0, y)
    _minimum(y, 6, y)


def relu6_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Set dy to zero where y (or x) is not between 0 and 6."""
    inside, below = scratch("inside", (2, *dy.shape), np.bool_)
    np.greater(y, 0, out=inside)
    np.less(y, 6, out=below)
    np.logical_and(inside, below, out=inside)
    np.multiply(dy, inside, out=dy)


def hardswish(x: Array, y: Array, scratch: Scratch) -> None:
    """Write x·relu6(x + 3)/6 to y."""
    work = scratch("work", (BLOCK,))
    for here in _blocks(x):
        xs, ys = x.reshape(-1)[here], y.reshape(-1)[here]
        gate = work[: xs.size]
        np.add(xs, 3, out=gate)
        relu6(gate, gate, scratch)
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


def leaky_relu(x: Array, y: Array, scratch: Scratch, slope: float) -> None:
    """Write x where it is above 0 and slope·x elsewhere to y."""
    scaled = np.multiply(x, slope, out=scratch("scaled", x.shape))
    larger = np.maximum if slope <= 1 else np.minimum
    larger(x, scaled, out=y)


def leaky_relu_backward(dy: Array, y: Array, scratch: Scratch, slope: float) -> None:
    """Multiply dy by the slope where y is not above 0.

    The slope is at least 0, so y has the sign of x.
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
    """Write x·sigmoid(x) to y.

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
    """Write x·Phi(x) to y.

    Phi(x) = (1 + erf(x/sqrt(2)))/2 is the normal cumulative distribution function.
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


def sigmoid(x: Array, y: Array, scratch: Scratch) -> None:
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


def hardsigmoid(x: Array, y: Array, scratch: Scratch) -> None:
    """Write min(max(x + 3, 0), 6)/6 to y."""
    np.multiply(x, 1 / 6, out=y)
    np.add(y, 0.5, out=y)
    np.clip(y, 0, 1, out=y)


def hardsigmoid_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Divide dy by 6 where y is between 0 and 1; set it to zero elsewhere."""
    inside, below = scratch("inside", (2, *dy.shape), np.bool_)
    np.greater(y, 0, out=inside)
    np.less(y, 1, out=below)
    np.logical_and(inside, below, out=inside)
    np.multiply(dy, inside, out=dy)
    np.multiply(dy, 1 / 6, out=dy)


def tanh(x: Array, y: Array, scratch: Scratch) -> None:
    """Write tanh(x)."""
    np.tanh(x, out=y)


def tanh_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Multiply dy by 1 - y²."""
    factor = np.multiply(y, y, out=scratch("factor", y.shape))
    np.subtract(1, factor, out=factor)
    np.multiply(dy, factor, out=dy)


def elu(x: Array, y: Array, scratch: Scratch, alpha: float, scale: float = 1.0) -> None:
    """Write scale·x where x is above 0, scale·alpha·(exp(x) - 1) elsewhere."""
    below = np.minimum(x, 0, out=scratch("factor", x.shape))
    np.expm1(below, out=below)
    np.multiply(below, alpha, out=below)
    np.maximum(x, 0, out=y)
    np.add(y, below, out=y)
    np.multiply(y, scale, out=y)


def elu_backward(dy: Array, y: Array, scratch: Scratch, alpha: float, scale: float = 1.0) -> None:
    """Multiply dy by scale where y is above 0, by y + scale·alpha elsewhere; alpha above 0."""
    factor = np.minimum(y, 0, out=scratch("factor", y.shape))
    np.add(factor, scale * alpha, out=factor)
    positive = np.greater(y, 0, out=scratch("inside", y.shape, np.bool_))
    np.copyto(factor, scale, where=positive)
    np.multiply(dy, factor, out=dy)


def selu(x: Array, y: Array, scratch: Scratch) -> None:
    """Write ELU with the scale and alpha that preserve mean 0 and variance 1."""
    elu(x, y, scratch, SELU_ALPHA, SELU_SCALE)


def selu_backward(dy: Array, y: Array, scratch: Scratch) -> None:
    """Multiply dy by the derivative of ELU with the same constants."""
    elu_backward(dy, y, scratch, SELU_ALPHA, SELU_SCALE)


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
    sigmoid(x, factor, scratch)
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

    NumPy vectorizes maximum for two arrays, not for an array and a number; this is twice as fast.
    """
    row = np.full(ROW, bound, x.dtype)
    flat, out = x.reshape(-1), y.reshape(-1)
    whole = x.size - x.size % ROW
    choose(flat[:whole].reshape(-1, ROW), row, out=out[:whole].reshape(-1, ROW))
    choose(flat[whole:], row[: x.size - whole], out=out[whole:])


_TABLE = (
    ActivationFunction(
        "relu", "ReLU", "max(0, x).", relu, relu_backward, reads="y", onnx="Relu", loop=loops.RELU
    ),
    # Maas et al. 2013.
    ActivationFunction(
        "leaky_relu",
        "LeakyReLU",
        "x above 0, negative_slope x below.",
        leaky_relu,
        leaky_relu_backward,
        reads="y",
        loops=(loops.leaky_relu, loops.leaky_relu_backward),
    ),
    # Elfwing et al. 2017; also known as swish.
    ActivationFunction(
        "silu",
        "SiLU",
        "x times its sigmoid.",
        silu,
        silu_backward,
        reads="x",
        loop=loops.SILU,
        loop_is_float32=True,
    ),
    # Hendrycks and Gimpel 2016, by erf.
    ActivationFunction(
        "gelu",
        "GELU",
        "x times the normal cumulative distribution function of x (exact).",
        gelu,
        gelu_backward,
        reads="x",
        onnx="Gelu",
        loop=loops.GELU,
        loop_is_float32=True,
    ),
    # Howard et al. 2017.
    ActivationFunction(
        "relu6",
        "ReLU6",
        "min(max(x, 0), 6).",
        relu6,
        relu6_backward,
        reads="y",
        loop=loops.RELU6,
    ),
    # Howard et al. 2019.
    ActivationFunction(
        "hardswish",
        "HardSwish",
        "x relu6(x + 3) / 6.",
        hardswish,
        hardswish_backward,
        reads="x",
        onnx="HardSwish",
        loop=loops.HARDSWISH,
    ),
    ActivationFunction(
        "sigmoid",
        "Sigmoid",
        "1 / (1 + exp(-x)).",
        sigmoid,
        sigmoid_backward,
        reads="y",
        onnx="Sigmoid",
    ),
    # Howard et al. 2019.
    ActivationFunction(
        "hardsigmoid",
        "HardSigmoid",
        "relu6(x + 3) / 6.",
        hardsigmoid,
        hardsigmoid_backward,
        reads="y",
    ),
    ActivationFunction(
        "tanh", "Tanh", "The hyperbolic tangent.", tanh, tanh_backward, reads="y", onnx="Tanh"
    ),
    # Clevert et al. 2015.
    ActivationFunction(
        "elu",
        "ELU",
        "x above 0, alpha (exp(x) - 1) below.",
        elu,
        elu_backward,
        reads="y",
    ),
    # Klambauer et al. 2017.
    ActivationFunction(
        "selu",
        "SELU",
        "ELU, scaled so that it keeps mean 0 and variance 1.",
        selu,
        selu_backward,
        reads="y",
        onnx="Selu",
    ),
    ActivationFunction(
        "softplus",
        "Softplus",
        "log(1 + exp(x)).",
        softplus,
        softplus_backward,
        reads="x",
        onnx="Softplus",
    ),
    ActivationFunction(
        "softsign",
        "Softsign",
        "x / (1 + |x|).",
        softsign,
        softsign_backward,
        reads="y",
        onnx="Softsign",
    ),
)

ACTIVATIONS = {function.kind: function for function in _TABLE}
"""The table by kind, in the order in which layers are listed."""

BY_LOOP = {function.loop: function for function in _TABLE if function.loop != loops.NONE}
"""Activations that a normalization can apply to its result, by their number in the loops."""

CLAMPS = {loops.NONE: (-inf, inf), loops.RELU: (0.0, inf), loops.RELU6: (0.0, 6.0)}
"""Activations that a convolution can apply to its result, by the same number: its bounds."""
