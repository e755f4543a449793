"""Run a single layer as the engine does: memory, parameters, forward, backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.nn.context import NodeContext, RunContext, Workspace
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.layers.base import Layer
from cnn_cli.nn.types import Array
from cnn_cli.structs import replace

Input = Array | tuple[Array, ...]
Arrays = dict[str, Array]


def random_input(layer: Layer, n: int, *, seed: int, dtype: DTypeLike = np.float64) -> Array:
    """Return normally distributed numbers of shape (n, *layer.in_shape)."""
    return np.random.default_rng(seed).standard_normal((n, *layer.in_shape)).astype(dtype)


def random_params(layer: Layer, *, seed: int, dtype: DTypeLike = np.float64) -> Arrays:
    """Return parameters that preserve the scale of the input, without zeros."""
    rng = np.random.default_rng([seed, 1])
    params = {}
    for spec in layer.params:
        values = rng.standard_normal(spec.shape)
        if spec.role == "scale":
            values = 1 + 0.3 * values
        elif spec.role == "weight":
            values /= np.sqrt(spec.fan_in)
        params[spec.name] = values.astype(dtype)
    return params


class Contexts(NamedTuple):
    """The last arguments of a layer's methods: ``layer.forward(x, *contexts)``."""

    node: NodeContext
    run: RunContext

    def but(self, **changes: Any) -> Contexts:
        """Return a copy with some attributes changed, of either context."""
        of_node = {name: value for name, value in changes.items() if hasattr(self.node, name)}
        of_run = {name: value for name, value in changes.items() if name not in of_node}
        return Contexts(replace(self.node, **of_node), replace(self.run, **of_run))


def make_context(
    layer: Layer,
    params: Arrays | None = None,
    dtype: DTypeLike = np.float64,
    *,
    training: bool = True,
    seed: int = 0,
    buffers: Arrays | None = None,
    kernels: Kernels = NUMPY,
) -> Contexts:
    """Create contexts as the engine does for one node.

    Args:
        layer: its specs determine the arrays.
        params: by name, in the layer's layout; random by default.
        dtype: dtype of activations, parameters, buffers and gradients.
        training: as `RunContext.training`.
        seed: seed of the random parameters, and `RunContext.seed`.
        buffers: running statistics by name; by default their initial values.
        kernels: as `RunContext.kernels`.

    Gradients are NaN, since fresh ones must be written, not added to. Prepared arrays are computed
    from `params`; after changing those, call `prepare` again.
    """
    if params is None:
        params = random_params(layer, seed=seed)
    if buffers is None:
        buffers = {spec.name: np.full(spec.shape, spec.initial) for spec in layer.buffers}
    node = NodeContext(
        params={name: np.array(value, dtype) for name, value in params.items()},
        buffers={name: np.array(value, dtype) for name, value in buffers.items()},
        grads={spec.name: np.full(spec.shape, np.nan, dtype) for spec in layer.params},
        prepared=np.full(layer.prepared or 0, np.nan, dtype),
        prepared_grad=np.full(layer.prepared_grad or 0, np.nan, dtype),
    )
    run = RunContext(Workspace(), kernels, dtype, training=training, seed=seed)
    prepare(layer, node)
    return Contexts(node, run)


def prepare(layer: Layer, node: NodeContext) -> None:
    """Recompute the prepared array, as the engine does at every step."""
    if layer.prepared is not None:
        layer.prepare(node.params, node.prepared)


def collect(layer: Layer, node: NodeContext, grads: Arrays) -> None:
    """Write to `grads` the gradients computed from that of the prepared array."""
    if layer.prepared_grad is not None:
        layer.collect(node.prepared_grad, grads)


def run_layer(
    layer: Layer,
    x: Input,
    params: Arrays | None = None,
    dtype: DTypeLike = np.float64,
    *,
    training: bool = True,
    seed: int = 0,
    buffers: Arrays | None = None,
    kernels: Kernels = NUMPY,
) -> tuple[Array, Any, Contexts]:
    """Run `layer.forward` on `x` cast to `dtype`; return (y, saved, ctx) for a `backward`.

    The other arguments are those of `make_context`.
    """
    ctx = make_context(
        layer, params, dtype, training=training, seed=seed, buffers=buffers, kernels=kernels
    )
    y, saved = layer.forward(cast(x, dtype), *ctx)
    return y, saved, ctx


def run_backward(layer: Layer, dy: Array, saved: Any, ctx: Contexts) -> tuple[Any, Arrays]:
    """Run `layer.backward` on a copy of `dy`; return copies of (dx, gradients by name)."""
    own = ctx.run.take(dy.shape)
    own[...] = dy
    dx = layer.backward(own, saved, *ctx)
    copies = tuple(part.copy() for part in dx) if isinstance(dx, tuple) else dx
    if isinstance(dx, np.ndarray):
        copies = dx.copy()
    grads = {name: grad.copy() for name, grad in ctx.node.grads.items()}
    collect(layer, ctx.node, grads)
    give_back(ctx.run.workspace, [own, dx])
    return copies, grads


def parts_of(x: Input) -> tuple[Array, ...]:
    return x if isinstance(x, tuple) else (x,)


def cast(x: Input, dtype: DTypeLike) -> Any:
    """Return a contiguous copy in `dtype`."""
    if isinstance(x, tuple):
        return tuple(cast(part, dtype) for part in x)
    return np.array(x, dtype, order="C")


def arrays_in(thing: Any) -> Iterator[Array]:
    """Yield every array in nested tuples, lists and dictionaries."""
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, tuple | list):
        for item in thing:
            yield from arrays_in(item)
    elif isinstance(thing, dict):
        yield from arrays_in(list(thing.values()))


def give_back(workspace: Workspace, things: Any, keep: tuple[Array, ...] = ()) -> None:
    """Give back each block in `things` once, whatever the number of views of it."""
    owned = {a.ctypes.data: a for a in arrays_in(things) if workspace.owns(a)}
    for address, array in owned.items():
        if not any(address == part.ctypes.data for part in keep):
            workspace.give(array)


def poison(workspace: Workspace) -> None:
    """Fill scratch and free blocks with NaN, so that stale or unwritten memory shows."""
    free = [block for blocks in workspace._free.values() for block in blocks]
    for block in [*free, *workspace._scratch.values()]:
        block.fill(0xFF)
