"""The base class of optimizers: arguments, state, and steps over the flat parameter array.

The optimizers themselves are in `optim.optimizers`, one file each.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.nn.graph import Node
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array, Share, whole
from cnn_cli.schema.fields import Choice

BLOCK = 32_768  # elements: a block of every array used fits the L2 cache
NORM_BLOCK = 8_192
SHARED = 2**24  # products of numbers; with fewer, sharing takes longer than it saves
STEP = "step"


class Treatment(NamedTuple):
    """How an optimizer treats a parameter.

    Attributes:
        lr_factor: factor of the step's learning rate.
        weight_decay: weight decay, multiplied by the learning rate.
        matrix: rows and columns of a convolution's filters, one filter per column, if the optimizer
            updates them as a matrix.
    """

    lr_factor: float
    weight_decay: float
    matrix: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A slice of the flat array whose elements are treated alike.

    Attributes:
        part: slice of `Parameters.flat`.
        lr_factor, weight_decay, matrix: as in `Treatment`.
    """

    part: slice
    lr_factor: float
    weight_decay: float
    matrix: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """The treatment of the whole flat array.

    Attributes:
        trained: groups in the array's order.
        frozen: the remaining slices.
    """

    trained: tuple[Group, ...]
    frozen: tuple[slice, ...]


class OptimizerConfig(Choice):
    """The arguments of an optimizer, with PyTorch's names and defaults."""

    if TYPE_CHECKING:  # each has them with its own order of keys
        lr: float
        weight_decay: float

    @property
    def buffers(self) -> tuple[str, ...]:
        """PyTorch's names of the state arrays that it keeps, at most."""
        raise NotImplementedError

    def treatment(self, node: Node, spec: ParamSpec) -> Treatment:
        """Return how it treats a parameter of a node."""
        raise NotImplementedError

    def make(self, params: Parameters, groups: Groups) -> Optimizer:
        """Create the optimizer."""
        raise NotImplementedError


class ElementwiseConfig(OptimizerConfig):
    """The arguments of an optimizer that updates each element independently.

    `weight_decay` applies to weights; `norm_weight_decay` to scales and shifts of normalizations,
    to biases and to slopes of prelu; by default it is the same.
    """

    if TYPE_CHECKING:
        norm_weight_decay: float | None

    def treatment(self, node: Node, spec: ParamSpec) -> Treatment:
        weight_decay = self.weight_decay
        if spec.role != "weight" and self.norm_weight_decay is not None:
            weight_decay = self.norm_weight_decay
        return Treatment(1.0, weight_decay)


class Optimizer:
    """Updates parameters; keeps flat state arrays like `params.flat`.

    Args:
        params: the parameters.
        groups: which parts are updated, and how.
        buffers: PyTorch's names of the state arrays.

    Attributes:
        groups: may be replaced between steps.
        buffers: the state arrays, by PyTorch's names.
        steps: (parameters,) how many steps have updated each parameter, in the order of
            `Parameters.parts`: fewer if it was frozen.
    """

    def __init__(self, params: Parameters, groups: Groups, buffers: Sequence[str]) -> None:
        self.params = params
        self.groups = groups
        self._bounds = [0, *(part.stop for *_, part in params.parts())]
        self.steps = np.zeros(len(self._bounds) - 1, np.int64)
        kept = {name: params.empty_like() for name in buffers}
        self.buffers = {name: flat for name, (flat, _) in kept.items()}
        self._views = {name: views for name, (_, views) in kept.items()}
        size = min(BLOCK, params.flat.size)
        self._scratch = (np.empty(size, params.dtype), np.empty(size, params.dtype))

    def step(self, gradient: Array, lr: float, share: Share = whole) -> None:
        """Take one step.

        Args:
            gradient: flat, like `params.flat`; not modified.
            lr: the learning rate of this step.
            share: gives large matrices, of which each is updated alone, to several threads.
        """
        moves = [
            (replace(group, part=part), steps)
            for group in self.groups.trained
            for part, steps in self._count(group.part)
        ]
        moves.sort(key=lambda move: -_products(move[0]))
        shared = bisect_right(moves, -SHARED, key=lambda move: -_products(move[0]))
        jobs: SimpleQueue[list[tuple[Group, int]]] = SimpleQueue()
        for move in moves[:shared]:
            jobs.put([move])
        jobs.put(moves[shared:])  # together: they have one scratch memory

        def work(first: int, end: int) -> None:
            # A diverging run overflows here; its loss reports that once, instead of many warnings.
            with np.errstate(over="ignore", invalid="ignore"), suppress(Empty):
                while True:
                    for group, steps in jobs.get_nowait():
                        self.move(group, gradient, lr * group.lr_factor, steps)

        (share if shared else whole)(jobs.qsize(), work)
        self.params.touch()

    def _count(self, part: slice) -> Iterator[tuple[slice, int]]:
        """Count a step of the parameters in `part`; yield the parts that have taken equally many
        steps, this one included.
        """
        first, last = (bisect_left(self._bounds, bound) for bound in (part.start, part.stop))
        self.steps[first:last] += 1
        for steps, equal in groupby(range(first, last), self.steps.tolist().__getitem__):
            numbers = list(equal)
            yield slice(self._bounds[numbers[0]], self._bounds[numbers[-1] + 1]), steps

    def move(self, group: Group, gradient: Array, lr: float, steps: int) -> None:
        """Update the parameters of one group.

        Args:
            group: the group.
            gradient: as in `step`.
            lr: the learning rate, with the group's factor.
            steps: number of steps that have updated the group, this one included.
        """
        for block in blocks(group.part, BLOCK):
            param, grad = self.params.flat[block], gradient[block]
            self._update(block, param, grad, lr, group.weight_decay, steps)

    def _update(
        self, block: slice, param: Array, grad: Array, lr: float, weight_decay: float, steps: int
    ) -> None:
        raise NotImplementedError

    def named_state(self) -> dict[str, Array]:
        """Return the arrays for a checkpoint: `<buffer>/<layer>/<param>` in PyTorch's layouts, and
        `step`, which is `steps`, or one number if all are equal.
        """
        equal = (self.steps == self.steps[:1]).all()
        step = np.array(self.steps.max(initial=0)) if equal else self.steps
        return self._named_buffers() | {STEP: step}

    def load_named_state(self, arrays: Mapping[str, Array], place: str) -> None:
        """Load what `named_state` returned.

        Args:
            arrays: arrays of a checkpoint.
            place: the checkpoint's name, for the message.

        Raises:
            DataError: the arrays do not fit this optimizer and network.
        """
        targets = self._named_buffers()
        shapes = {name: (view.shape,) for name, view in targets.items()}
        for name, fitting in (shapes | {STEP: ((), self.steps.shape)}).items():
            got = arrays.get(name)
            kind = "iu" if name == STEP else "f"
            if got is None or got.shape not in fitting or got.dtype.kind not in kind:
                text = "nothing" if got is None else f"{got.dtype} of shape {got.shape}"
                rule = f"must be {_word(kind)} of shape {' or '.join(map(str, fitting))}"
                raise DataError(place, f"optimizer/{name} {rule}", text)
        if extra := next((name for name in arrays if name not in {*shapes, STEP}), None):
            rule = "the optimizer's state does not belong to this config"
            raise DataError(place, rule, f"optimizer/{extra} too")
        steps = arrays[STEP].astype(np.int64)
        if (steps < 0).any():
            raise DataError(place, f"optimizer/{STEP} must be 0 or more", int(steps.min()))
        for name, view in targets.items():
            view[...] = arrays[name]
        self.steps[...] = steps

    def _named_buffers(self) -> dict[str, Array]:
        return {
            f"{buffer}/{name}": array
            for buffer, views in self._views.items()
            for name, array in self.params.named(views).items()
        }


def clip_grad_norm(gradient: Array, max_norm: float) -> float:
    """Scale a gradient to a Euclidean norm of at most `max_norm`, as PyTorch's `clip_grad_norm_`.

    Args:
        gradient: flat; scaled in place.
        max_norm: above 0.

    Returns:
        The norm before clipping; if it is not finite, neither is the gradient afterwards.
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
        if not scale >= 1:  # also true for NaN
            gradient *= scale
    return norm


def blocks(part: slice, block: int) -> Iterator[slice]:
    """Split `part` into slices of at most `block` elements."""
    for start in range(part.start, part.stop, block):
        yield slice(start, min(start + block, part.stop))


def _products(group: Group) -> int:
    """Return the number of products of numbers in a matrix times its transpose."""
    short, long = sorted(group.matrix or (0, 0))
    return long * short**2


def _word(kind: str) -> str:
    return "floating-point" if kind == "f" else "integer"
