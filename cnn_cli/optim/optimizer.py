"""SGD, Adam and AdamW over the flat parameter array, with PyTorch's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cnn_cli.config.optimizers import AdamConfig, AdamWConfig, SGDConfig
from cnn_cli.errors import DataError
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import Group, Groups

BLOCK = 32_768  # elements: a block of every array involved fits the L2 cache
NORM_BLOCK = 8_192
STEP = "step"


class Optimizer:
    """Moves parameters against their gradient; keeps flat arrays like `params.flat`.

    Args:
        groups: which parts of them move, and how.
        buffers: PyTorch's names of the arrays kept.

    Attributes:
        groups: may be replaced between steps.
        buffers: the flat arrays kept and the views into them, by PyTorch's names.
        steps: how many steps were taken.
    """

    def __init__(self, params: Parameters, groups: Groups, buffers: Sequence[str]) -> None:
        self.params = params
        self.groups = groups
        self.steps = 0
        self.buffers = {name: params.empty_like() for name in buffers}
        size = min(BLOCK, params.flat.size)
        self._scratch = (np.empty(size, params.dtype), np.empty(size, params.dtype))

    def step(self, gradient: Array, lr: float) -> None:
        """Take one step.

        Args:
            gradient: flat, like `params.flat`; left as it is.
            lr: the learning rate of this step.
        """
        self.steps += 1
        # A diverging run overflows here; the loss shows it, one line instead of warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            for group in self.groups.moved:
                self.move(group, gradient, lr * group.lr_factor)
        self.params.touch()

    def move(self, group: Group, gradient: Array, lr: float) -> None:
        """Move the parameters of one group; `lr` is the group's own."""
        for block in blocks(group.part, BLOCK):
            self._update(block, self.params.flat[block], gradient[block], lr, group.weight_decay)

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float
    ) -> None:
        raise NotImplementedError

    def state(self) -> dict[str, Array]:
        """The flat arrays kept, by PyTorch's names."""
        return {name: flat for name, (flat, _) in self.buffers.items()}

    def load_state(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Take over what `state` and `steps` gave earlier, for the same network."""
        for name, flat in self.state().items():
            flat[:] = arrays[name]
        self.steps = steps

    def named_state(self) -> dict[str, Array]:
        """What a checkpoint keeps: `<buffer>/<layer>/<param>` in PyTorch's layouts, and `step`."""
        return self._named_buffers() | {STEP: np.array(self.steps, np.int64)}

    def load_named_state(self, arrays: Mapping[str, Array], place: str) -> None:
        """Take over what `named_state` gave.

        Args:
            arrays: of a checkpoint.
            place: the checkpoint's name, for the message.

        Raises:
            DataError: the arrays are not those of this optimizer and network.
        """
        targets = self._named_buffers()
        shapes = {name: view.shape for name, view in targets.items()} | {STEP: ()}
        for name, shape in shapes.items():
            got = arrays.get(name)
            kind = "iu" if name == STEP else "f"
            if got is None or got.shape != shape or got.dtype.kind not in kind:
                text = "nothing" if got is None else f"{got.dtype} of shape {got.shape}"
                rule = f"optimizer/{name} must be {_word(kind)} of shape {shape}"
                raise DataError(place, rule, text)
        if extra := next((name for name in arrays if name not in shapes), None):
            rule = "the optimizer's state does not belong to this config"
            raise DataError(place, rule, f"optimizer/{extra} too")
        for name, view in targets.items():
            view[...] = arrays[name]
        self.steps = int(arrays[STEP])

    def _named_buffers(self) -> dict[str, Array]:
        return {
            f"{buffer}/{name}": array
            for buffer, (_, views) in self.buffers.items()
            for name, array in self.params.named(views).items()
        }


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD without dampening."""

    def __init__(self, config: SGDConfig, params: Parameters, groups: Groups) -> None:
        super().__init__(params, groups, ["momentum_buffer"] if config.momentum else [])
        self.config = config

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float
    ) -> None:
        config = self.config
        decayed, product = (scratch[: grad.size] for scratch in self._scratch)
        if weight_decay != 0:
            np.multiply(param, weight_decay, out=decayed)
            decayed += grad
            grad = decayed
        if config.momentum != 0:
            # The buffer starts at 0, which makes it the gradient after the first step.
            momentum_buffer = self.state()["momentum_buffer"][block]
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


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with an L2 term, as torch.optim.Adam.

    With an `AdamWConfig` the decay is decoupled (Loshchilov and Hutter 2019, algorithm 2), as in
    torch.optim.AdamW.
    """

    def __init__(
        self, config: AdamConfig | AdamWConfig, params: Parameters, groups: Groups
    ) -> None:
        super().__init__(params, groups, ["exp_avg", "exp_avg_sq"])
        self.config = config
        # An eps of 0 would make 0/0 of every parameter that never had a gradient.
        self._eps = max(config.eps, float(np.finfo(params.dtype).tiny))

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float
    ) -> None:
        config = self.config
        beta1, beta2 = config.betas
        decayed, scratch = (scratch[: grad.size] for scratch in self._scratch)
        if isinstance(config, AdamWConfig):
            param *= 1 - lr * weight_decay
        elif weight_decay != 0:
            np.multiply(param, weight_decay, out=decayed)
            decayed += grad
            grad = decayed
        exp_avg, exp_avg_sq = (flat[block] for flat in self.state().values())
        np.subtract(grad, exp_avg, out=scratch)
        scratch *= 1 - beta1
        exp_avg += scratch
        exp_avg_sq *= beta2
        np.multiply(grad, grad, out=scratch)
        scratch *= 1 - beta2
        exp_avg_sq += scratch
        denom = np.sqrt(exp_avg_sq, out=scratch)
        denom /= (1 - beta2**self.steps) ** 0.5
        denom += self._eps
        update = np.divide(exp_avg, denom, out=scratch)
        update *= -lr / (1 - beta1**self.steps)
        param += update


def clip_grad_norm(gradient: Array, max_norm: float) -> float:
    """Shrink a gradient to a Euclidean norm of at most `max_norm`, as PyTorch's `clip_grad_norm_`.

    Args:
        gradient: flat; scaled in place.
        max_norm: above 0.

    Returns:
        The norm before; where it is not finite, neither is the gradient afterwards.
    """
    squares = np.empty(min(NORM_BLOCK, gradient.size), np.float64)
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks(slice(0, gradient.size), NORM_BLOCK):
            part = squares[: block.stop - block.start]
            np.copyto(part, gradient[block])
            part *= part
            total += float(part.sum())
        norm = math.sqrt(total)
        scale = max_norm / (norm + 1e-6)
        if not scale >= 1:  # also where it is not a number
            gradient *= scale
    return norm


def blocks(part: slice, block: int) -> Iterator[slice]:
    """`part` in pieces of at most `block` elements."""
    for start in range(part.start, part.stop, block):
        yield slice(start, min(start + block, part.stop))


def _word(kind: str) -> str:
    return "floating-point" if kind == "f" else "a whole number"
