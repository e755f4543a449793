"""Muon: the filters of convolutions are updated along orthogonalized momentum (K. Jordan et al.
2024).

https://kellerjordan.github.io/posts/muon/
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from cnn_cli.nn.graph import Node
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizer import (
    ElementwiseConfig,
    Group,
    Groups,
    Optimizer,
    OptimizerConfig,
    Treatment,
)
from cnn_cli.optim.optimizers.sgd import SGDConfig
from cnn_cli.schema.fields import Above0, Flag, Must, NotBelow0, OneOf, ShareBelow1, broken

# Coefficients of aX + b(XXᵀ)X + c(XXᵀ)²X, as steep at 0 as possible: singular values end near 1,
# which is enough.
A, B, C = 3.4445, -4.7750, 2.0315
EPS = 1e-7


class MuonConfig(OptimizerConfig):
    """Muon for the filters of convolutions, another optimizer for the rest (K. Jordan et al. 2024).

    Attributes:
        type: the optimizer's name.
        lr: learning rate of filters; the schedule multiplies it, and that of `other` too.
        momentum: momentum factor.
        nesterov: use Nesterov momentum (needs a momentum above 0).
        steps: steps of the Newton-Schulz iteration.
        weight_decay: decoupled weight decay, as in AdamW.
        adjust_lr: factor of the rate: √max(1, out / (in·kh·kw)) (`original`) or, to use AdamW's
            rates, 0.2·√max(out, in·kh·kw) (`match_rms_adamw`), as in torch.optim.Muon; or `none`.
        normalize_weights: before each step, scale the filters of a convolution, all by one factor,
            so that the mean of their squared norms is 1.
        other: the optimizer of all other parameters.
    """

    listed: ClassVar = 4
    # Deferred until the choices for `other` are imported.
    model_config = ConfigDict(defer_build=True)

    type: Literal["muon"] = "muon"
    lr: Above0 = 0.02
    momentum: ShareBelow1 = 0.95
    nesterov: Flag = True
    steps: Annotated[int, Field(strict=True, gt=0, le=20), Must("a whole number from 1 to 20")] = 5
    weight_decay: NotBelow0 = 0.0
    adjust_lr: Annotated[
        Literal["original", "match_rms_adamw"] | None, Must("original, match_rms_adamw or none")
    ] = "original"
    normalize_weights: Flag = False
    other: Annotated[ElementwiseConfig, OneOf("sgd")] = SGDConfig()

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> MuonConfig:
        if self.nesterov and self.momentum == 0:
            raise broken("nesterov requires a momentum above 0")
        return self

    @property
    def buffers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("momentum_buffer", *self.other.buffers)))

    def treatment(self, node: Node, spec: ParamSpec) -> Treatment:
        if node.layer.kind == "conv" and spec.role == "weight":
            columns = spec.shape[-1]
            return Treatment(1.0, self.weight_decay, (spec.size // columns, columns))
        return self.other.treatment(node, spec)._replace(lr_factor=self.other.lr / self.lr)

    def make(self, params: Parameters, groups: Groups) -> Muon:
        return Muon(self, self.other.make(params, groups))


class Muon(Optimizer):
    """Muon for the filters of convolutions, another optimizer for all other parameters.

    Filters are flattened to a matrix (out, in·kh·kw). The code uses its transpose, with rows in the
    kernels' order; neither changes the result of orthogonalizing.

    Args:
        params: the parameters.
        groups: their treatment.
        other: the other optimizer; if it has momentum, both share one state array.
    """

    def __init__(self, config: MuonConfig, other: Optimizer) -> None:
        super().__init__(other.params, other.groups, ["momentum_buffer"] if config.momentum else ())
        self.config = config
        self.other = other
        self.buffers |= other.buffers
        self._views |= other._views

    def move(self, group: Group, gradient: Array, lr: float, steps: int) -> None:
        if group.matrix is None:
            self.other.move(group, gradient, lr, steps)
            return
        config = self.config
        rows, columns = group.matrix
        part = slice(group.part.start, group.part.start + rows * columns)
        weight, direction = self.params.flat[part], gradient[part]
        if config.momentum != 0:
            momentum_buffer = self.buffers["momentum_buffer"][part]
            momentum_buffer *= config.momentum
            momentum_buffer += direction
            if config.nesterov:
                direction = direction + config.momentum * momentum_buffer
            else:
                direction = momentum_buffer
        if config.normalize_weights:
            weight *= math.sqrt(columns) / max(float(np.linalg.norm(weight)), EPS)
        weight *= 1 - lr * group.weight_decay
        update = orthogonalize(direction.reshape(group.matrix), config.steps)
        update *= -lr * _rate_factor(config.adjust_lr, outputs=columns, inputs=rows)
        weight += update.reshape(-1)


def orthogonalize(gradient: Array, steps: int) -> Array:
    """Return approximately U·Vᵀ, where U·S·Vᵀ is the gradient: its directions with nearly equal
    strength.

    The iteration's X is P·G, where P is a polynomial in GGᵀ. The code iterates P and XXᵀ: square
    matrices of the short side, several times smaller than a filter bank.

    Args:
        gradient: (m, n); not modified.
        steps: steps of the iteration, at least 1.

    Returns:
        (m, n), contiguous.
    """
    tall = gradient.shape[0] > gradient.shape[1]
    wide = gradient.T if tall else gradient
    wide = wide / (np.linalg.norm(wide) + EPS)
    moments = wide @ wide.T
    product = factor = _factor(moments)
    for _ in range(steps - 1):
        moments = factor @ moments @ factor
        factor = _factor(moments)
        product = factor @ product
    # The product is symmetric, being a polynomial of a symmetric matrix.
    found: Array = wide.T @ product if tall else product @ wide
    return found


def _factor(moments: Array) -> Array:
    """Return the factor by which a step multiplies X: a + b·XXᵀ + c·(XXᵀ)²."""
    factor: Array = C * (moments @ moments) + B * moments
    factor[np.diag_indices_from(factor)] += A
    return factor


def _rate_factor(rule: str | None, outputs: int, inputs: int) -> float:
    """Return the factor of the learning rate, as `adjust_lr_fn` of torch.optim.Muon."""
    match rule:
        case "original":
            return math.sqrt(max(1, outputs / inputs))
        case "match_rms_adamw":
            return 0.2 * math.sqrt(max(outputs, inputs))
    return 1.0
