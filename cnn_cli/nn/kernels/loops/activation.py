"""Activations, element by element.

SiLU and GELU support float32 only: their exponential and normal distribution are fitted to it,
because compilers cannot vectorize calls to `math`.
"""

from __future__ import annotations

import numpy as np

from cnn_cli.nn.types import Array

NONE, RELU, SILU, GELU, RELU6, HARDSWISH = range(6)

ROW = 1024  # elements at a time: intermediate results stay in the first-level cache

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

# exp(r) = 1 + r + r²·E(r) for |r| <= ln(2)/2, within 8e-8 (S. Moshier's Cephes, expf).
E0 = np.float32(5.0000001201e-1)
E1 = np.float32(1.6666665459e-1)
E2 = np.float32(4.1665795894e-2)
E3 = np.float32(8.3334519073e-3)
E4 = np.float32(1.3981999507e-3)
E5 = np.float32(1.9875691500e-4)
LOG2_E = np.float32(1.44269504)
# ln(2) in two parts; the product of the first with a small integer is exact.
LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(-2.12194440e-4)
LEAST, MOST = np.float32(-88), np.float32(88.8)

# The normal distribution's upper tail is exp(-a²/2)·t·T(t) with t = 1/(1 + 0.3·a), 0 <= a: a form
# from Hastings, "Approximations for Digital Computers" (1955), fitted to minimize the largest
# relative error, 1.2e-7.
T0 = np.float32(0.119623265)
T1 = np.float32(0.120845501)
T2 = np.float32(0.0993473065)
T3 = np.float32(0.130415852)
T4 = np.float32(-0.0571662213)
T5 = np.float32(0.210117138)
T6 = np.float32(-0.159377573)
T7 = np.float32(0.0361946762)
NEARNESS = np.float32(0.3)
DENSITY = np.float32(0.3989422804)  # 1/sqrt(2·pi)


def activate(x: Array, y: Array, kind: int) -> None:
    """Write the activation of x to y, which may be x; both (size,)."""
    row = np.empty(min(x.size, ROW), x.dtype)
    zero = x.dtype.type(0)
    for start in range(0, x.size, ROW):
        here, there = x[start : start + ROW], y[start : start + ROW]
        part = row[: here.size]
        if kind == RELU:
            for i in range(here.size):
                part[i] = zero if here[i] < zero else here[i]
        else:
            for i in range(here.size):
                part[i] = here[i]
            activate_row(part, kind)
        for i in range(here.size):
            there[i] = part[i]


def activate_backward(dy: Array, x: Array, kind: int) -> None:
    """Multiply dy by the derivative of the activation at x (for ReLU also at y); both (size,)."""
    for start in range(0, x.size, ROW):
        activate_row_backward(dy[start : start + ROW], x[start : start + ROW], kind)


def leaky_relu(x: Array, y: Array, slope: float) -> None:
    """Write x where it is above 0 and slope·x elsewhere to y, which may be x."""
    row = np.empty(min(x.size, ROW), x.dtype)
    zero, factor = x.dtype.type(0), x.dtype.type(slope)
    for start in range(0, x.size, ROW):
        here, there = x[start : start + ROW], y[start : start + ROW]
        for i in range(here.size):
            row[i] = here[i] if here[i] > zero else factor * here[i]
        for i in range(here.size):
            there[i] = row[i]


def leaky_relu_backward(dy: Array, y: Array, slope: float) -> None:
    """Multiply dy by the slope where y is not above 0."""
    zero, factor = y.dtype.type(0), y.dtype.type(slope)
    for i in range(y.size):
        dy[i] = dy[i] if y[i] > zero else factor * dy[i]


def activate_row(row: Array, kind: int) -> None:
    """Replace each element by its activation."""
    if kind == RELU:
        zero = row.dtype.type(0)
        for i in range(row.size):
            row[i] = zero if row[i] < zero else row[i]
    elif kind == SILU:
        for i in range(row.size):
            row[i] *= sigmoid(row[i])
    elif kind == GELU:
        for i in range(row.size):
            row[i] = gelu(row[i])
    elif kind == RELU6:
        zero, six = row.dtype.type(0), row.dtype.type(6)
        for i in range(row.size):
            row[i] = zero if row[i] < zero else six if row[i] > six else row[i]
    elif kind == HARDSWISH:
        hardswish_row(row)


def activate_row_backward(dy: Array, x: Array, kind: int) -> None:
    """Multiply dy by the derivative of the activation at x."""
    if kind == RELU:
        zero = dy.dtype.type(0)
        for i in range(x.size):
            dy[i] = dy[i] if x[i] > zero else zero
    elif kind == SILU:
        for i in range(x.size):
            s = sigmoid(x[i])
            dy[i] *= s * (ONE + x[i] * (ONE - s))
    elif kind == GELU:
        for i in range(x.size):
            dy[i] *= gelu_derivative(x[i])
    elif kind == RELU6:
        zero, six = dy.dtype.type(0), dy.dtype.type(6)
        for i in range(x.size):
            dy[i] = dy[i] if zero < x[i] < six else zero
    elif kind == HARDSWISH:
        hardswish_row_backward(dy, x)


def hardswish_row(row: Array) -> None:
    """Replace each element by x·relu6(x + 3)/6."""
    zero, one = row.dtype.type(0), row.dtype.type(1)
    sixth, half = row.dtype.type(1 / 6), row.dtype.type(0.5)
    for i in range(row.size):
        gate = row[i] * sixth + half
        row[i] *= zero if gate < zero else one if gate > one else gate


def hardswish_row_backward(dy: Array, x: Array) -> None:
    """Multiply dy by 0 up to -3, by 1 from 3 on, and by x/3 + 1/2 between."""
    zero, three = dy.dtype.type(0), dy.dtype.type(3)
    third, half = dy.dtype.type(1 / 3), dy.dtype.type(0.5)
    for i in range(x.size):
        if x[i] <= -three:
            dy[i] = zero
        elif x[i] < three:
            dy[i] *= x[i] * third + half


def sigmoid(x: np.float32) -> np.float32:
    return ONE / (ONE + exp(-x))


def gelu(x: np.float32) -> np.float32:
    """Return x·Phi(x)."""
    tail = x * exp(-HALF * x * x) * upper_tail(abs(x))
    return tail if x < ZERO else x - tail


def gelu_derivative(x: np.float32) -> np.float32:
    """Return Phi(x) + x·phi(x)."""
    density = exp(-HALF * x * x)
    tail = density * upper_tail(abs(x))
    return (tail if x < ZERO else ONE - tail) + x * density * DENSITY


def upper_tail(a: np.float32) -> np.float32:
    """Return (1 - Phi(a))·exp(a²/2) for 0 <= a."""
    t = ONE / (ONE + NEARNESS * a)
    p = T6 + t * T7
    p = T5 + t * p
    p = T4 + t * p
    p = T3 + t * p
    p = T2 + t * p
    p = T1 + t * p
    p = T0 + t * p
    return t * p


def exp(x: np.float32) -> np.float32:
    """Return exp(x) within 1e-7, relative; 0 below -87.7 and infinity above 88.7."""
    x = min(max(x, LEAST), MOST)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = E4 + r * E5
    p = E3 + r * p
    p = E2 + r * p
    p = E1 + r * p
    p = E0 + r * p
    power = np.int32((np.int32(n) + 127) << 23).view(np.float32)  # 2 to the power n
    value: np.float32 = power * (ONE + r + r * r * p)
    return value
