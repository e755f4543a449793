"""Activations of one number, and derivatives: what `kernels.activation` is proved against."""

from __future__ import annotations

from math import erf, exp, pi, sqrt


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


def silu(x: float) -> float:
    return x * sigmoid(x)


def silu_derivative(x: float) -> float:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


def gelu(x: float) -> float:
    return x * (1 + erf(x / sqrt(2))) / 2


def gelu_derivative(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * pi)
