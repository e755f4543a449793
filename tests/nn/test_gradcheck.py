"""The gradient check detects planted errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import gradcheck, random_input

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.layers.base import Layer, ParamSpec
from cnn_cli.nn.types import Array


class Scale(Layer):
    """y = scale · relu(x) + shift, with one error, or none."""

    saves_input = True

    def __init__(self, mistake: str = "") -> None:
        self.in_shape = self.out_shape = (4, 5)
        self.params = (ParamSpec("scale", (5,), "scale"), ParamSpec("shift", (5,), "shift"))
        self.mistake = mistake
        if mistake == "saves_input":
            self.saves_input = False  # type: ignore[misc]  # the mistake: an untrue flag

    def forward(self, x: Array, node: NodeContext, run: RunContext) -> tuple[Array, Any]:
        y = run.take(x.shape)
        if self.mistake == "allocates":
            y = run.workspace.take((x.size + 1, run.workspace.nbytes), np.uint8)
            y = run.take(x.shape)
        if self.mistake == "scratch output":
            y = run.scratch("y", x.shape)
        np.multiply(np.maximum(x, 0), node.params["scale"], out=y)
        y += node.params["shift"]
        if self.mistake == "writes input":
            x += 1e-3
        if self.mistake == "scratch saved":
            saved = run.scratch("saved", x.shape)
            saved[...] = x
            return y, saved
        return y, x

    def backward(self, dy: Array, saved: Array, node: NodeContext, run: RunContext) -> Array | None:
        product = dy * np.maximum(saved, 0)
        factor = 1.001 if self.mistake == "scale" else 1
        if self.mistake == "does not add":
            node.grads["scale"][...] = product.sum((0, 1))
        else:
            node.add_row_sum("scale", product * factor, run)
        if not (self.mistake == "needs dx" and not node.need_dx):
            node.add_row_sum("shift", dy, run)
        if not node.need_dx and self.mistake != "unneeded dx":
            return None
        dx = run.take(dy.shape)
        np.multiply(dy * (saved > 0), node.params["scale"], out=dx)
        if self.mistake == "dx":
            dx[0, 0, 0] += 1
        return dx


def test_accepts_a_right_layer() -> None:
    layer = Scale()
    gradcheck(layer, random_input(layer, 2, seed=1), seed=1)


def test_steps_around_kinks() -> None:
    layer = Scale()
    x = random_input(layer, 2, seed=1)
    x[0, :2] = 0
    gradcheck(layer, x, seed=1)


def test_refuses_to_step_around_everything() -> None:
    layer = Scale()
    with pytest.raises(AssertionError, match="input 0: nearly every position is at a kink"):
        gradcheck(layer, np.zeros((2, 4, 5)), seed=1)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("dx", "input 0: at "),
        ("scale", "scale: at "),
        ("does not add", "gradients do not add to what is there"),
        ("needs dx", "without need_dx the parameters' gradients differ"),
        ("unneeded dx", "a dx that nobody needs"),
        ("writes input", "the input was modified"),
        ("scratch output", "the output is not from run.take"),
        ("scratch saved", "not finite|differs"),
        ("allocates", "a second pass allocates"),
        ("saves_input", "backward reads what was not declared as saved"),
    ],
)
def test_catches(mistake: str, message: str) -> None:
    layer = Scale(mistake)
    with pytest.raises(AssertionError, match=message):
        gradcheck(layer, random_input(layer, 2, seed=1), seed=1)
