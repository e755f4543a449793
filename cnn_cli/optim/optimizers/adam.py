"""Adam and AdamW, with PyTorch's arithmetic."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np

from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.optimizer import ElementwiseConfig, Groups, Optimizer
from cnn_cli.schema.fields import Must, NotBelow0, ShareBelow1


class _AdamConfig(ElementwiseConfig):
    """The arguments that Adam and AdamW share.

    Attributes:
        type: the optimizer's name.
        lr: learning rate, which the schedule multiplies.
        betas: decay rates of the averages of the gradient and of its square.
        eps: added to the square root of the second average.
        weight_decay: weight decay.
        norm_weight_decay: weight decay of normalization layers, biases and PReLU slopes; by default
            `weight_decay`.
    """

    decoupled: ClassVar[bool]

    lr: NotBelow0 = 1e-3
    betas: Annotated[
        tuple[ShareBelow1, ShareBelow1], Must("two numbers, 0 or more and below 1")
    ] = (0.9, 0.999)
    eps: NotBelow0 = 1e-8

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def make(self, params: Parameters, groups: Groups) -> Adam:
        return Adam(self, params, groups)


class AdamConfig(_AdamConfig):
    """Adam (Kingma and Ba 2015; weight decay as an L2 term, as torch.optim.Adam)."""

    listed: ClassVar = 2
    decoupled: ClassVar = False

    type: Literal["adam"] = "adam"
    weight_decay: NotBelow0 = 0.0
    norm_weight_decay: NotBelow0 | None = None


class AdamWConfig(_AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    listed: ClassVar = 3
    decoupled: ClassVar = True

    type: Literal["adamw"] = "adamw"
    weight_decay: NotBelow0 = 0.01
    norm_weight_decay: NotBelow0 | None = None


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with an L2 term, as torch.optim.Adam.

    With an `AdamWConfig`, weight decay is decoupled (Loshchilov and Hutter 2019, algorithm 2), as
    in torch.optim.AdamW.
    """

    def __init__(self, config: _AdamConfig, params: Parameters, groups: Groups) -> None:
        super().__init__(params, groups, config.buffers)
        self.config = config
        # With an eps of 0, parameters that never had a gradient would become 0/0.
        self._eps = max(config.eps, float(np.finfo(params.dtype).tiny))

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float, steps: int
    ) -> None:
        config = self.config
        beta1, beta2 = config.betas
        decayed, scratch = (scratch[: grad.size] for scratch in self._scratch)
        if config.decoupled:
            param *= 1 - lr * weight_decay
        elif weight_decay != 0:
            np.multiply(param, weight_decay, out=decayed)
            decayed += grad
            grad = decayed
        exp_avg, exp_avg_sq = (flat[block] for flat in self.buffers.values())
        np.subtract(grad, exp_avg, out=scratch)
        scratch *= 1 - beta1
        exp_avg += scratch
        exp_avg_sq *= beta2
        np.multiply(grad, grad, out=scratch)
        scratch *= 1 - beta2
        exp_avg_sq += scratch
        denom = np.sqrt(exp_avg_sq, out=scratch)
        denom /= (1 - beta2**steps) ** 0.5
        denom += self._eps
        update = np.divide(exp_avg, denom, out=scratch)
        update *= -lr / (1 - beta1**steps)
        param += update
