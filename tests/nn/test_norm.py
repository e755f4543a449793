"""Normalization: chunks give the same as the whole batch, and both match the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import definitions
import numpy as np
import pytest
from gradcheck import Arrays, gradcheck, make_context, random_input, random_params, run_layer

from cnn_cli.nn.kernels import norm as kernels
from cnn_cli.nn.layers.base import ShapeError
from cnn_cli.nn.layers.batch import Statistics
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.groupnorm import GroupNorm
from cnn_cli.nn.types import Array
from cnn_cli.structs import replace

SHAPES = [(5, 3, 4), (7, 1, 3), (1, 1, 5), (6,), (4, 4, 1100)]


@dataclass
class Result:
    y: Array
    dx: Array
    grads: Arrays
    buffers: Arrays
    statistics: Statistics


def run_batch(
    layer: BatchNorm,
    x: Array,
    dy: Array,
    chunks: list[int],
    params: Arrays,
    buffers: Arrays | None = None,
) -> Result:
    """Run a batch through training, forward and backward, in chunks as in the engine."""
    node, run = make_context(layer, params, x.dtype, buffers=buffers)
    cuts = np.cumsum(chunks)[:-1]
    xs = [part.copy() for part in np.split(x, cuts)]
    dys = [part.copy() for part in np.split(dy, cuts)]
    kept = [part.copy() for part in xs + dys]

    statistics = layer.combine([layer.partial(part, run) for part in xs])
    layer.update_running(statistics, node.buffers)
    outputs = [layer.forward_batch(part, statistics, node, run) for part in xs]
    partials = []
    for i, (part, (_, saved)) in enumerate(zip(dys, outputs, strict=True)):
        chunk = replace(run, fresh=i == 0)
        partials.append(layer.backward_partial(part, saved, statistics, node, chunk))
    for part, copy in zip(xs + dys, kept, strict=True):
        np.testing.assert_array_equal(part, copy, err_msg="an argument was modified")
    sums = layer.combine_backward(partials)
    grads = {name: grad.copy() for name, grad in node.grads.items()}
    dxs = [
        layer.backward_batch(part, saved, statistics, sums, node, run)
        for part, (_, saved) in zip(dys, outputs, strict=True)
    ]
    for name, grad in node.grads.items():
        np.testing.assert_array_equal(grad, grads[name], err_msg="a gradient was added twice")
    y = np.concatenate([y for y, _ in outputs])
    dx = np.concatenate([dx for dx in dxs if dx is not None])
    return Result(y, dx, grads, dict(node.buffers), statistics)


@pytest.mark.parametrize("shape", SHAPES)
def test_batchnorm_is_the_loop(shape: Any) -> None:
    layer = BatchNorm(shape, eps=1e-3)
    c = shape[-1]
    params = random_params(layer, seed=1)
    x = 3 * random_input(layer, 5, seed=1) + 2
    dy = random_input(layer, 5, seed=2)
    result = run_batch(layer, x, dy, [5], params)

    rows, drows = x.reshape(1, -1, c), dy.reshape(1, -1, c)
    y, dx, dweight, dbias = np.empty_like(rows), np.empty_like(rows), np.empty(c), np.empty(c)
    definitions.normalize(rows, c, params["weight"], params["bias"], 1e-3, y)
    definitions.normalize_backward(drows, rows, c, params["weight"], 1e-3, dx, dweight, dbias)
    np.testing.assert_allclose(result.y, y.reshape(x.shape), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.dx, dx.reshape(x.shape), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.grads["weight"], dweight, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.grads["bias"], dbias, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunks", [[3, 4], [1, 4, 2], [1] * 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_chunks_give_what_the_whole_batch_gives(shape: Any, chunks: list[int]) -> None:
    layer = BatchNorm(shape)
    params = random_params(layer, seed=1)
    x, dy = random_input(layer, 7, seed=3) + 1, random_input(layer, 7, seed=4)
    whole, cut = (run_batch(layer, x, dy, sizes, params) for sizes in ([7], chunks))
    assert cut.statistics.count == whole.statistics.count == x.size // shape[-1]
    pairs = [(cut.y, whole.y), (cut.dx, whole.dx)]
    pairs += [(cut.grads[name], whole.grads[name]) for name in params]
    pairs += [(cut.buffers[name], whole.buffers[name]) for name in whole.buffers]
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("shape", "n"), [((3, 2, 4), 3), ((5, 5, 2), 1), ((4,), 6)])
def test_batchnorm_gradients_through_the_whole_batch(shape: Any, n: int) -> None:
    layer = BatchNorm(shape)
    params = random_params(layer, seed=5)
    x, dy = random_input(layer, n, seed=5), random_input(layer, n, seed=6)
    chunks = [n] if n == 1 else [n - 1, 1]
    result = run_batch(layer, x, dy, chunks, params)

    def loss() -> float:
        return float(np.vdot(run_batch(layer, x, dy, chunks, params).y, dy))

    step = 1e-5
    for array, gradient in [(x, result.dx), *((params[k], result.grads[k]) for k in params)]:
        flat = array.reshape(-1)
        numeric = np.empty(flat.size)
        for i in range(flat.size):
            value = flat[i]
            flat[i] = value + step
            ahead = loss()
            flat[i] = value - step
            numeric[i] = (ahead - loss()) / (2 * step)
            flat[i] = value
        np.testing.assert_allclose(gradient.reshape(-1), numeric, rtol=1e-6, atol=1e-8)


def test_running_statistics() -> None:
    layer = BatchNorm((2, 3, 2), momentum=0.25)
    initial = {spec.name: spec.initial for spec in layer.buffers}
    assert initial == {"running_mean": 0, "running_var": 1}
    params = random_params(layer, seed=1)
    mean, var = np.zeros(2), np.ones(2)
    buffers = None
    for seed in range(3):
        x = random_input(layer, 4, seed=seed)
        buffers = run_batch(layer, x, x, [1, 3], params, buffers).buffers
        values = x.reshape(-1, 2)
        mean = 0.75 * mean + 0.25 * values.mean(axis=0)
        var = 0.75 * var + 0.25 * values.var(axis=0, ddof=1)
        np.testing.assert_allclose(buffers["running_mean"], mean, rtol=0, atol=1e-14)
        np.testing.assert_allclose(buffers["running_var"], var, rtol=0, atol=1e-14)


def test_statistics_of_batches_combine_to_those_of_all_their_images() -> None:
    """As the processes of a training and `precise_bn` combine them."""
    layer = BatchNorm((2, 3, 2))
    x = random_input(layer, 7, seed=1) + 1
    params = random_params(layer, seed=1)
    batches = [
        run_batch(layer, x[at], x[at], [len(x[at])], params) for at in (slice(2), slice(2, 7))
    ]
    together = layer.combine([each.statistics.as_partial() for each in batches])
    values = x.reshape(-1, 2)
    assert together.count == 42
    np.testing.assert_allclose(together.mean, values.mean(axis=0))
    np.testing.assert_allclose(together.unbiased_var, values.var(axis=0, ddof=1))


def test_one_value_a_channel_makes_no_nan() -> None:
    layer = BatchNorm((3,))
    x = np.array([[1.0, -2.0, 3.0]])
    result = run_batch(layer, x, x, [1], random_params(layer, seed=1))
    assert result.statistics.count == 1
    np.testing.assert_allclose(result.buffers["running_mean"], 0.1 * x[0])
    np.testing.assert_allclose(result.buffers["running_var"], [0.9] * 3)
    np.testing.assert_allclose(result.dx, 0, atol=1e-12)


@pytest.mark.parametrize("c", [1, 3, 32, 600])
def test_float32_statistics_of_values_far_from_0(c: int) -> None:
    layer = BatchNorm((16, 16, c))
    noise = random_input(layer, 4, seed=7)
    x = (1000 + noise).astype(np.float32)
    _, run = make_context(layer, dtype=np.float32)
    statistics = layer.combine([layer.partial(part, run) for part in np.split(x, [1])])
    exact = x.reshape(-1, c).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, exact.mean(axis=0), rtol=0, atol=2e-6)
    np.testing.assert_allclose(statistics.var, exact.var(axis=0), rtol=3e-6)


def test_float32_is_near_float64() -> None:
    layer = BatchNorm((16, 16, 16))
    params = random_params(layer, seed=8)
    x, dy = 2 * random_input(layer, 6, seed=8) + 3, random_input(layer, 6, seed=9)
    exact = run_batch(layer, x, dy, [4, 2], params)
    rounded = run_batch(layer, x.astype(np.float32), dy.astype(np.float32), [4, 2], params)
    assert rounded.y.dtype == rounded.dx.dtype == np.float32
    np.testing.assert_allclose(rounded.y, exact.y, rtol=0, atol=3e-6)
    np.testing.assert_allclose(rounded.dx, exact.dx, rtol=0, atol=3e-6)
    for name, grad in exact.grads.items():
        np.testing.assert_allclose(rounded.grads[name], grad, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 5), (6,)])
def test_batchnorm_in_evaluation_is_an_affine_map(shape: Any) -> None:
    layer = BatchNorm(shape, eps=0.01)
    rng = np.random.default_rng(10)
    c = shape[-1]
    buffers = {"running_mean": rng.standard_normal(c), "running_var": 1 + rng.random(c)}
    params = random_params(layer, seed=10)
    x = random_input(layer, 3, seed=10)
    y, _, ctx = run_layer(layer, x, params, training=False, buffers=buffers)
    deviation = np.sqrt(buffers["running_var"] + 0.01)
    expected = (x - buffers["running_mean"]) / deviation * params["weight"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    for name, values in buffers.items():
        np.testing.assert_array_equal(ctx.node.buffers[name], values)

    own = x.copy()
    over, _ = layer.forward(own, *ctx.but(inplace=True))
    assert over is own
    np.testing.assert_array_equal(over, y)
    gradcheck(layer, x, seed=10, training=False, params=params, buffers=buffers)


def test_without_need_of_dx_there_is_none() -> None:
    layer = BatchNorm((3, 3, 2))
    x = random_input(layer, 2, seed=1)
    node, run = make_context(layer).but(need_dx=False)
    statistics = layer.combine([layer.partial(x, run)])
    _, saved = layer.forward_batch(x, statistics, node, run)
    sums = layer.combine_backward([layer.backward_partial(x, saved, statistics, node, run)])
    assert layer.backward_batch(x, saved, statistics, sums, node, run) is None


def test_combine_backward_adds_and_leaves_its_arguments() -> None:
    layer = BatchNorm((2,))
    partials = [np.full((2, 2), float(i)) for i in (1, 2, 4)]
    assert (layer.combine_backward(partials) == 7).all()
    assert (partials[0] == 1).all()


def test_a_second_batch_allocates_nothing() -> None:
    layer = BatchNorm((8, 8, 16))
    x = random_input(layer, 4, seed=1)
    node, run = make_context(layer)
    held = []
    for _ in range(2):
        statistics = layer.combine([layer.partial(x, run)])
        y, saved = layer.forward_batch(x, statistics, node, run)
        dy = run.take(y.shape)
        dy[...] = 1
        sums = layer.combine_backward([layer.backward_partial(dy, saved, statistics, node, run)])
        assert layer.backward_batch(dy, saved, statistics, sums, node, run) is dy
        run.workspace.give(y)
        run.workspace.give(dy)
        held.append(run.workspace.nbytes)
    assert held[0] == held[1]


GROUPS = [((5, 3, 4), 2), ((3, 3, 6), 1), ((7, 1, 3), 3), ((1, 1, 8), 2), ((6,), 3)]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("shape", "groups"), GROUPS)
def test_groupnorm_is_the_loop(shape: Any, groups: int, n: int) -> None:
    layer = GroupNorm(shape, num_groups=groups, eps=1e-3)
    params = random_params(layer, seed=1)
    x = 3 * random_input(layer, n, seed=1) + 2
    y, _, _ = run_layer(layer, x, params)
    rows = x.reshape(n, -1, shape[-1])
    expected = np.empty_like(rows)
    definitions.normalize(rows, groups, params["weight"], params["bias"], 1e-3, expected)
    np.testing.assert_allclose(y, expected.reshape(x.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("shape", "groups"), GROUPS)
def test_groupnorm_gradients(shape: Any, groups: int, n: int) -> None:
    layer = GroupNorm(shape, num_groups=groups)
    gradcheck(layer, 2 * random_input(layer, n, seed=11) + 1, seed=11)


def test_groupnorm_does_not_mix_images() -> None:
    layer = GroupNorm((4, 4, 6), num_groups=3)
    params = random_params(layer, seed=1)
    x = random_input(layer, 3, seed=12) * np.array([1, 10, 100]).reshape(3, 1, 1, 1)
    together, _, _ = run_layer(layer, x, params)
    for i in range(3):
        alone, _, _ = run_layer(layer, x[i : i + 1], params)
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-12)


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ShapeError) as error:
        GroupNorm((4, 4, 6), num_groups=4)
    assert str(error.value) == "num_groups 4 must divide the number of channels 6"


@pytest.mark.parametrize(("rows", "c"), [(1, 1), (49, 32), (31, 7), (4096, 3), (2, 5000)])
@pytest.mark.parametrize("n", [1, 2])
def test_channel_sums(n: int, rows: int, c: int) -> None:
    rng = np.random.default_rng(13)
    x, y = rng.standard_normal((2, n, rows, c))
    np.testing.assert_allclose(kernels.channel_sum(x), x.sum(axis=1), rtol=0, atol=1e-11)
    np.testing.assert_allclose(kernels.channel_dot(x, y), (x * y).sum(axis=1), rtol=0, atol=1e-11)
