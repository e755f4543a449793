"""Stochastic gradient descent, with PyTorch's arithmetic."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizer import ElementwiseConfig, Groups, Optimizer
from cnn_cli.schema.fields import Flag, NotBelow0, ShareBelow1, broken


class SGDConfig(ElementwiseConfig):
    """Stochastic gradient descent (as torch.optim.SGD).

    Attributes:
        type: the optimizer's name.
        lr: learning rate, which the schedule multiplies.
        momentum: momentum factor.
        nesterov: use Nesterov momentum (needs a momentum above 0).
        weight_decay: weight decay, as an L2 penalty.
        norm_weight_decay: weight decay of normalization layers, biases and PReLU slopes; by
            default `weight_decay`.
    """

    listed: ClassVar = 1

    type: Literal["sgd"] = "sgd"
    lr: NotBelow0 = 0.1
    momentum: ShareBelow1 = 0.9
    nesterov: Flag = True
    weight_decay: NotBelow0 = 5e-4
    norm_weight_decay: NotBelow0 | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_without_momentum(cls, value: Any) -> Any:
        """Turn off Nesterov momentum if only `momentum: 0` is given."""
        if isinstance(value, dict) and value.get("momentum") == 0:
            return {"nesterov": False} | value
        return value

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGDConfig:
        if self.nesterov and self.momentum == 0:
            raise broken("nesterov requires a momentum above 0")
        return self

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def make(self, params: Parameters, groups: Groups) -> SGD:
        return SGD(self, params, groups)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD without dampening."""

    def __init__(self, config: SGDConfig, params: Parameters, groups: Groups) -> None:
        super().__init__(params, groups, config.buffers if config.momentum else ())
        self.config = config

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float, steps: int
    ) -> None:
        config = self.config
        decayed, product = (scratch[: grad.size] for scratch in self._scratch)
        if weight_decay != 0:
            np.multiply(param, weight_decay, out=decayed)
            decayed += grad
            grad = decayed
        if config.momentum != 0:
            # The buffer starts at 0, so it equals the gradient after the first step.
            momentum_buffer = self.buffers["momentum_buffer"][block]
            momentum_buffer *= config.momentum
            momentum_buffer += grad
            if config.nesterov:
                np.multiply(momentum_buffer, config.momentum, out=product)
                product += grad
                grad = product
            else:
                grad = momentum_buffer
        np.multiply(grad, -lr, out=product)
        param += product
