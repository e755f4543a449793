"""The error function, which NumPy lacks."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from cnn_cli.nn.types import Array

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
# Computation 23 (1969): R(x) = P(x)/Q(x), highest power first.
# For |x| <= 0.46875: erf(x) = x·R(x²).
SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
SMALL_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
# For 0.46875 <= |x| <= 4: erfc(|x|) = exp(-x²)·R(|x|).
MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
# For 4 <= |x|: erfc(|x|) = exp(-x²)/|x| · (1/sqrt(pi) - R(1/x²)/x²).
LARGE_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
LARGE_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346725e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)
# Beyond this, erf is 1 in float64.
SATURATED = 6.0

# erf(x) = tanh(x·T(x²)), where T minimizes the largest error over all x, 6e-8. Its first
# coefficient is positive, so tanh saturates where erf does.
TANH_T = (
    1.589599520e-07,
    -5.985686268e-06,
    8.971256279e-05,
    -6.257195153e-04,
    -1.843837517e-04,
    1.027654815e-01,
    1.128379705e00,
)


def erf(x: Array, y: Array, squares: Array) -> None:
    """Write erf(x) to y: within 1e-15 in float64 and 2e-7 in float32.

    Shapes: x, y (written) and squares (scratch) are alike. float64 allocates several arrays of that
    size, so call it on blocks that fit the cache, as the rest of `activation` does.
    """
    if x.dtype == np.float64:
        y[...] = _erf_cody(x)
    else:
        _erf_tanh(x, y, squares)


def _erf_tanh(x: Array, y: Array, squares: Array) -> None:
    # For large x the polynomial overflows to infinity, whose tanh is 1.
    with np.errstate(over="ignore"):
        np.multiply(x, x, out=squares)
        np.multiply(squares, TANH_T[0], out=y)
        for coefficient in TANH_T[1:-1]:
            np.add(y, coefficient, out=y)
            np.multiply(y, squares, out=y)
        np.add(y, TANH_T[-1], out=y)
        np.multiply(y, x, out=y)
        np.tanh(y, out=y)


def _erf_cody(x: Array) -> Array:
    size = np.abs(x)
    y = np.minimum(size, 1)  # 1 beyond all ranges below; NaN is preserved
    small = size <= 0.46875
    middle = (size > 0.46875) & (size <= 4)
    large = (size > 4) & (size < SATURATED)

    a = size[small]
    y[small] = a * _ratio(SMALL_P, SMALL_Q, a * a)
    a = size[middle]
    y[middle] = 1 - np.exp(-a * a) * _ratio(MIDDLE_P, MIDDLE_Q, a)
    a = size[large]
    r = 1 / (a * a)
    y[large] = 1 - np.exp(-a * a) / a * (1 / sqrt(pi) - r * _ratio(LARGE_P, LARGE_Q, r))
    return np.copysign(y, x)


def _ratio(p: tuple[float, ...], q: tuple[float, ...], x: Array) -> Array:
    ratio: Array = np.polyval(p, x) / np.polyval(q, x)
    return ratio
