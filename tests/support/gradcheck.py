"""The gradient check for all layers, which also checks the rules on which the engine relies.

    layer = Conv((5, 6, 3), out_channels=4, kernel_size=(3, 3))
    gradcheck(layer, random_input(layer, 2, seed=1), seed=1)

The loss is a random projection of the output. Its derivative by central differences, in float64, is
compared with `backward` at random positions. Positions next to a kink (of a ReLU, or a tie in a max
pool) are skipped: there the two one-sided differences disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from layer_run import (
    Arrays,
    Contexts,
    Input,
    arrays_in,
    cast,
    collect,
    give_back,
    make_context,
    parts_of,
    poison,
    prepare,
    random_input,
    random_params,
    run_backward,
    run_layer,
)

from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array

__all__ = [
    "Arrays",
    "Input",
    "gradcheck",
    "make_context",
    "random_input",
    "random_params",
    "run_backward",
    "run_layer",
]

STEP = 1e-5
SAMPLES = 60
RELATIVE = 1e-6
ABSOLUTE = 1e-8
KINK = 1e-3


def gradcheck(
    layer: Layer,
    x: Input,
    *,
    seed: int,
    training: bool = True,
    params: Arrays | None = None,
    buffers: Arrays | None = None,
    kernels: Kernels = NUMPY,
) -> None:
    """Assert that `backward` is the derivative of `forward`, and that both follow the rules.

    Args:
        layer: the layer.
        x: (n, *layer.in_shape), or a tuple of arrays for a layer with several inputs.
        seed: seed of parameters, projection and sampled positions.
        training: as `RunContext.training`.
        params, buffers: replace those of `make_context`.
        kernels: as `RunContext.kernels`.

    Besides the derivatives with respect to every input and parameter it checks that: the input is
    not modified; a second pass allocates nothing; gradients are added unless fresh; without
    `need_dx` there is no dx and the parameters' gradients are the same; `saves_input`,
    `saves_output`, `can_write_input` and `is_view` are correct; saved arrays do not lie in scratch
    memory.
    """
    x = cast(x, np.float64)
    kept = cast(x, np.float64)
    ctx = make_context(
        layer, params, training=training, seed=seed, buffers=buffers, kernels=kernels
    )
    y, saved = layer.forward(x, *ctx)
    parts = parts_of(x)
    assert y.shape == (parts[0].shape[0], *layer.out_shape), "the output has another shape"
    assert y.dtype == np.float64, "the output has another dtype"
    assert y.flags.c_contiguous, "the output is not contiguous"
    shares = any(np.shares_memory(y, part) for part in parts)
    assert shares == layer.is_view, "is_view does not tell the truth"
    assert shares or ctx.run.workspace.owns(y), "the output is not from run.take"
    dy = np.random.default_rng([seed, 2]).standard_normal(y.shape)
    poison(ctx.run.workspace)
    dx, grads = run_backward(layer, dy, saved, ctx)
    _assert_close(x, kept, "the input was modified")
    give_back(ctx.run.workspace, [y, saved], keep=parts)

    _check_manners(layer, x, dy, ctx, (y.copy(), dx, grads))
    _assert_close(x, kept, "the input was modified")

    def difference(sign: int, flat: Array, position: int) -> float:
        """Return the change of the loss by a step, summed over the changes of y, which cancels
        less.
        """
        value = flat[position]
        flat[position] = value + sign * STEP
        prepare(layer, ctx.node)
        there, its_saved = layer.forward(x, *ctx)
        moved = np.subtract(there, y_here)
        flat[position] = value
        prepare(layer, ctx.node)
        give_back(ctx.run.workspace, [there, its_saved], keep=parts)
        return float(np.vdot(moved, dy))

    y_here = _forward_copy(layer, x, ctx)
    rng = np.random.default_rng([seed, 3])
    for index, (part, part_dx) in enumerate(zip(parts, parts_of(dx), strict=True)):
        assert part_dx.shape == part.shape, "dx is not shaped like the input"
        _check_derivative(f"input {index}", part, part_dx, difference, rng)
    for name, grad in grads.items():
        _check_derivative(name, ctx.node.params[name], grad, difference, rng)


def _check_derivative(
    what: str,
    array: Array,
    gradient: Array,
    difference: Callable[[int, Array, int], float],
    rng: np.random.Generator,
) -> None:
    """Compare `gradient` with central differences with respect to `array`, which is contiguous."""
    assert np.isfinite(gradient).all(), f"{what}: the gradient is not finite everywhere"
    flat = array.reshape(-1)
    assert np.shares_memory(flat, array)
    positions, centered, jumps = [], [], []
    for position in rng.permutation(flat.size)[:SAMPLES]:
        ahead, behind = (difference(sign, flat, int(position)) / STEP for sign in (1, -1))
        positions.append(position)
        centered.append((ahead - behind) / 2)
        jumps.append(abs(ahead + behind))
    numeric, analytic = np.array(centered), gradient.reshape(-1)[positions]
    scale = max(float(np.abs(numeric).max()), float(np.abs(gradient).max()))
    smooth = np.array(jumps) <= KINK * scale + ABSOLUTE
    assert smooth.mean() > 0.5, f"{what}: nearly every position is at a kink"
    error = np.where(smooth, np.abs(numeric - analytic), 0)
    worst = int(error.argmax())
    assert error[worst] <= RELATIVE * scale + ABSOLUTE, (
        f"{what}: at {np.unravel_index(positions[worst], array.shape)} "
        f"backward says {analytic[worst]}, differences say {numeric[worst]}"
    )


def _check_manners(
    layer: Layer, x: Input, dy: Array, ctx: Contexts, first: tuple[Array, Any, Arrays]
) -> None:
    """Run the layer again with other flags; `first` is (y, dx, gradients) of the plain run."""
    y, dx, grads = first
    parts = parts_of(x)
    held = ctx.run.workspace.nbytes
    poison(ctx.run.workspace)
    again, saved = layer.forward(x, *ctx)
    _assert_close(again, y, "a second forward gives something else")
    _assert_close(run_backward(layer, dy, saved, ctx), (dx, grads), "a second backward differs")
    give_back(ctx.run.workspace, [again, saved], keep=parts)
    assert ctx.run.workspace.nbytes == held, "a second pass allocates"

    adding = ctx.but(fresh=False)
    base = {name: np.full_like(grad, 0.5) for name, grad in grads.items()}
    for name, value in base.items():
        ctx.node.grads[name][...] = value
    if layer.prepared_grad is not None:
        ctx.node.prepared_grad.fill(0.5)
        collect(layer, ctx.node, base)
    again, saved = layer.forward(x, *adding)
    added = run_backward(layer, dy, saved, adding)[1]
    sums = {name: base[name] + grads[name] for name in grads}
    _assert_close(added, sums, "gradients do not add to what is there")
    give_back(ctx.run.workspace, [again, saved], keep=parts)

    lone = ctx.but(need_dx=False)
    again, saved = layer.forward(x, *lone)
    without = run_backward(layer, dy, saved, lone)
    assert without[0] is None, "a dx that nobody needs"
    _assert_close(without[1], grads, "without need_dx the parameters' gradients differ")
    give_back(ctx.run.workspace, [again, saved], keep=parts)

    _check_overwriting(layer, x, dy, ctx, first)


def _check_overwriting(
    layer: Layer, x: Input, dy: Array, ctx: Contexts, first: tuple[Array, Any, Arrays]
) -> None:
    """Overwrite what is not declared as saved between forward and backward."""
    y, dx, grads = first
    own = cast(x, np.float64)
    again, saved = layer.forward(own, *ctx)
    if not layer.saves_input and not (layer.is_view and layer.saves_output):
        for part in parts_of(own):
            part.fill(np.nan)
    if not layer.saves_output and not (layer.is_view and layer.saves_input):
        again.fill(np.nan)
    result = run_backward(layer, dy, saved, ctx)
    _assert_close(result, (dx, grads), "backward reads what was not declared as saved")
    give_back(ctx.run.workspace, [again, saved], keep=parts_of(own))

    if layer.can_write_input and not layer.saves_input:
        over = ctx.but(inplace=True)
        own = cast(x, np.float64)
        again, saved = layer.forward(own, *over)
        _assert_close(again, y, "in place the output differs")
        result = run_backward(layer, dy, saved, over)
        _assert_close(result, (dx, grads), "in place the gradients differ")
        give_back(ctx.run.workspace, [again, saved], keep=parts_of(own))


def _forward_copy(layer: Layer, x: Input, ctx: Contexts) -> Array:
    y, saved = layer.forward(x, *ctx)
    copy = y.copy()
    give_back(ctx.run.workspace, [y, saved], keep=parts_of(x))
    return copy


def _assert_close(actual: Any, expected: Any, message: str) -> None:
    pairs = zip(arrays_in(actual), arrays_in(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=message)
