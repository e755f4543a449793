"""Optimizers, against PyTorch's results for the same gradients in float64."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from stubs import Stub, small_graph, stub_graph

from cnn_cli.errors import DataError
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import GroupRules, make_groups
from cnn_cli.optim.optimizer import BLOCK, Groups, Optimizer, OptimizerConfig, clip_grad_norm
from cnn_cli.optim.optimizers import OPTIMIZERS, make_optimizer
from cnn_cli.optim.optimizers.adam import AdamConfig, AdamWConfig
from cnn_cli.optim.optimizers.sgd import SGDConfig

START = [0.5, -1.25, 2.0, 0.0]
STEPS = [
    ([0.1, -0.2, 0.3, 0.4], 0.1),
    ([-0.5, 0.25, 0.0, 0.125], 0.05),
    ([1.0, 2.0, -3.0, 0.5], 0.2),
]

# Config, the parameters after STEPS, and PyTorch's state by name.
CASES: list[tuple[str, OptimizerConfig, list[float], dict[str, list[float]]]] = [
    (
        "sgd",
        SGDConfig(momentum=0.0, nesterov=False, weight_decay=0.0),
        [0.315, -1.6425, 2.57, -0.14625],
        {},
    ),
    (
        "sgd with decay",
        SGDConfig(momentum=0.0, nesterov=False, weight_decay=0.01),
        [0.31322673949999996, -1.6381543537499998, 2.563081968, -0.14613754],
        {},
    ),
    (
        "momentum",
        SGDConfig(momentum=0.9, nesterov=False, weight_decay=0.01),
        [0.3806200895, -1.63697422875, 2.493328368, -0.25132954],
        {"momentum_buffer": [0.6445508025, 2.02950551875, -2.70356184, 0.9354977]},
    ),
    (
        "nesterov",
        SGDConfig(momentum=0.9, nesterov=True, weight_decay=0.01),
        [0.20576797398050004, -1.98652775924625, 3.007287544512, -0.37205446936],
        {"momentum_buffer": [0.644598864525, 2.0297521789375, -2.7041032224, 0.934775972]},
    ),
    (
        "adam",
        AdamConfig(betas=(0.8, 0.95), eps=1e-6),
        [0.34964992266178385, -1.3027519437528843, 1.9971591039906982, -0.3273999945548494],
        {
            "exp_avg": [0.1328, 0.4144, -0.5616, 0.1712],
            "exp_avg_sq": [0.06232625, 0.20477375, 0.45406125, 0.0204621875],
        },
    ),
    (
        "adam with decay",
        AdamConfig(weight_decay=0.1),
        [0.34161162978104725, -1.2495049556536373, 1.9552932054489014, -0.3249622994328293],
        {
            "exp_avg": [
                0.07499993468684994,
                0.1744915867503749,
                -0.22384538299121512,
                0.0913251733786699,
            ],
            "exp_avg_sq": [
                0.0013206483088575303,
                0.0036831287271906076,
                0.008206714511796314,
                0.00040884668171563884,
            ],
        },
    ),
    (
        "adamw",
        AdamWConfig(weight_decay=0.1),
        [0.34265570020136665, -1.2472828887044052, 1.917187542379304, -0.3231996786123805],
        {
            "exp_avg": [0.0631, 0.2063, -0.2757, 0.09365],
            "exp_avg_sq": [0.00125973001, 0.00410235754, 0.00908982009, 0.000425289535],
        },
    ),
]
CONFIGS = [config for _, config, _, _ in CASES]


def params_of(size: int, dtype: str = "float64") -> Parameters:
    graph = stub_graph(layer=Stub(ParamSpec("weight", (size,), "weight")))
    return Parameters(graph, dtype)


def take_steps(optimizer: Optimizer, steps: list[tuple[list[float], float]]) -> None:
    for gradient, lr in steps:
        flat = np.zeros_like(optimizer.params.flat)
        flat[: len(gradient)] = gradient
        optimizer.step(flat, lr)


@pytest.mark.parametrize(
    ("config", "expected", "state"),
    [case[1:] for case in CASES],
    ids=[name for name, *_ in CASES],
)
def test_three_steps_as_torch(
    config: OptimizerConfig, expected: list[float], state: dict[str, list[float]]
) -> None:
    params = params_of(4)
    params.flat[:4] = START
    optimizer = make_optimizer(config, params)
    take_steps(optimizer, STEPS)
    np.testing.assert_allclose(params.flat[:4], expected, rtol=1e-13)
    assert list(optimizer.buffers) == list(state)
    for name, values in state.items():
        np.testing.assert_allclose(optimizer.buffers[name][:4], values, rtol=1e-13)
    assert (optimizer.steps == 3).all()
    # The gaps between parameters do not change.
    assert not params.flat[4:].any()


# Which of the head's steps the body takes part in, three in all.
RELEASES = {
    "released": [False] * 5 + [True] * 3,
    "frozen in between": [True] + [False] * 4 + [True] * 2,
    "frozen at the end": [True] * 3 + [False] * 2,
}


def body_and_head(config: OptimizerConfig) -> tuple[Optimizer, Groups]:
    """Return an optimizer of two layers, and its groups while the lower one is frozen."""
    graph = stub_graph(
        body=Stub(ParamSpec("weight", (4,), "weight")),
        head=Stub(ParamSpec("weight", (4,), "weight")),
    )
    params = Parameters(graph, "float64")
    for views in params.views[:2]:
        views["weight"][...] = START
    return make_optimizer(config, params), make_groups(params, GroupRules(config, freeze=1))


@pytest.mark.parametrize("trained", RELEASES.values(), ids=list(RELEASES))
@pytest.mark.parametrize(
    ("config", "expected"), [(case[1], case[2]) for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_parameter_counts_its_own_steps_as_in_torch(
    config: OptimizerConfig, expected: list[float], trained: list[bool]
) -> None:
    """In PyTorch, a parameter that does not require gradients takes no step: after its release,
    it moves as in `test_three_steps_as_torch`. It is so after a restart before any step too.
    """
    optimizer, frozen = body_and_head(config)
    everything = optimizer.groups
    alone, _ = body_and_head(config)
    taken = 0
    for both in trained:
        gradient, lr = STEPS[taken % 3]
        flat = np.concatenate([np.pad(gradient, (0, 12))] * 2)
        again, _ = body_and_head(config)
        again.params.copy_from(optimizer.params)
        again.load_named_state(optimizer.named_state(), "last.npz")
        optimizer = again
        optimizer.groups = everything if both else frozen
        optimizer.step(flat, lr)
        alone.step(flat, lr)
        taken += both
    body, head = (views["weight"] for views in optimizer.params.views[:2])
    np.testing.assert_allclose(body, expected, rtol=1e-13)
    np.testing.assert_array_equal(head, alone.params.views[1]["weight"])
    assert optimizer.steps.tolist() == [3, len(trained)]
    assert optimizer.named_state()["step"].tolist() == [3, len(trained)]


@pytest.mark.parametrize("config", CONFIGS)
def test_one_number_of_steps_is_of_all_parameters(config: OptimizerConfig) -> None:
    """Checkpoints had one before the steps of each were counted: it continues as it did."""
    optimizer, frozen = body_and_head(config)
    assert optimizer.named_state()["step"].shape == ()
    optimizer.load_named_state(optimizer.named_state() | {"step": np.array(7)}, "last.npz")
    assert optimizer.steps.tolist() == [7, 7]
    assert optimizer.named_state()["step"] == 7
    optimizer.groups = frozen
    optimizer.step(optimizer.params.flat.copy(), 0.1)
    assert optimizer.named_state()["step"].tolist() == [7, 8]


@pytest.mark.parametrize("config", CONFIGS)
def test_float32_stays_float32_and_near(config: OptimizerConfig) -> None:
    results = []
    for dtype in ("float32", "float64"):
        params = params_of(4, dtype)
        params.flat[:4] = START
        optimizer = make_optimizer(config, params)
        take_steps(optimizer, STEPS)
        assert all(flat.dtype == dtype for flat in optimizer.buffers.values())
        results.append(params.flat)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_blocks_do_not_show(config: OptimizerConfig) -> None:
    """An array of several blocks changes as each of its elements alone would."""
    size = 2 * BLOCK + 48
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(size), rng.standard_normal((2, size))
    params = params_of(size)
    params.flat[:] = start
    optimizer = make_optimizer(config, params)
    for gradient in gradients:
        optimizer.step(gradient, 0.1)
    picked = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, size - 1]
    alone = params_of(len(picked))
    alone.flat[: len(picked)] = start[picked]
    optimizer = make_optimizer(config, alone)
    for gradient in gradients:
        flat = np.zeros_like(alone.flat)
        flat[: len(picked)] = gradient[picked]
        optimizer.step(flat, 0.1)
    np.testing.assert_allclose(params.flat[picked], alone.flat[: len(picked)], rtol=1e-14)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_gradient_is_left_as_it_is(config: OptimizerConfig) -> None:
    params = params_of(16)
    params.flat.fill(1)
    gradient = np.arange(16.0)
    version = params.version
    make_optimizer(config, params).step(gradient, 0.1)
    assert (gradient == np.arange(16.0)).all()
    assert params.version > version  # what is derived from the weights is computed again


@pytest.mark.parametrize("config", CONFIGS)
def test_a_step_allocates_no_large_array(config: OptimizerConfig) -> None:
    params = params_of(10 * BLOCK, "float32")
    optimizer = make_optimizer(config, params)
    gradient = np.ones_like(params.flat)
    optimizer.step(gradient, 0.1)
    tracemalloc.start()
    optimizer.step(gradient, 0.1)
    clip_grad_norm(gradient, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_no_gradient_and_no_eps_is_no_movement() -> None:
    params = params_of(4)
    params.flat[:4] = START
    optimizer = make_optimizer(AdamConfig(eps=0.0), params)
    take_steps(optimizer, [([0.1, 0.0, 0.0, 0.0], 0.1)] * 2)
    assert params.flat[1:4].tolist() == START[1:]
    assert params.flat[0] == pytest.approx(0.3)


@pytest.mark.parametrize("config", CONFIGS)
def test_divergence_is_silent(config: OptimizerConfig) -> None:
    params = params_of(4, "float32")
    params.flat.fill(3e38)
    optimizer = make_optimizer(config, params)
    take_steps(optimizer, [([3e38, -3e38, math.inf, math.nan], 1e10)] * 2)


@pytest.mark.parametrize("config", CONFIGS)
def test_saved_and_restored_it_goes_on_with_the_same_bits(config: OptimizerConfig) -> None:
    params = Parameters(small_graph(), "float32")
    rng = np.random.default_rng(1)
    gradients = [params.empty_like() for _ in range(4)]
    for _, views in gradients:
        for node_views in views:
            for view in node_views.values():
                view[...] = rng.standard_normal(view.shape)
    optimizer = make_optimizer(config, params)
    for flat, _ in gradients[:2]:
        optimizer.step(flat, 0.1)
    named = {name: array.copy() for name, array in optimizer.named_state().items()}

    restored = make_optimizer(config, params.copy())
    restored.load_named_state(named, "last.npz")
    for flat, _ in gradients[2:]:
        for one in (optimizer, restored):
            one.step(flat, 0.05)
    assert (restored.steps == 4).all()
    assert (restored.params.flat == params.flat).all()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_keeps_what_its_arguments_say(kind: str) -> None:
    """The memory estimate relies on these numbers."""
    config = OPTIMIZERS[kind].model_validate({})
    optimizer = make_optimizer(config, Parameters(small_graph(), "float32"))
    assert sorted(optimizer.buffers) == sorted(config.buffers)


def test_named_state_has_torch_names_and_layouts() -> None:
    params = Parameters(small_graph(), "float32")
    optimizer = make_optimizer(AdamConfig(), params)
    shapes = {name: array.shape for name, array in optimizer.named_state().items()}
    weights: dict[str, tuple[int, ...]] = {
        "stem/weight": (4, 5, 3, 2),
        "layers.1/weight": (4,),
        "layers.1/bias": (4,),
        "layers.2/weight": (3, 7),
        "layers.2/bias": (3,),
    }
    expected: dict[str, tuple[int, ...]] = {f"exp_avg/{k}": v for k, v in weights.items()}
    expected |= {f"exp_avg_sq/{k}": v for k, v in weights.items()}
    assert shapes == expected | {"step": ()}


def _loading(config: OptimizerConfig, **changes: Any) -> str:
    """Return the error for a state with some arrays changed, or removed for None."""
    optimizer = make_optimizer(config, Parameters(small_graph(), "float32"))
    arrays: dict[str, Array | None] = {**optimizer.named_state(), **changes}
    state = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(DataError) as caught:
        optimizer.load_named_state(state, "last.npz")
    return caught.value.line()


def test_states_that_do_not_fit() -> None:
    sgd, name = SGDConfig(), "momentum_buffer/layers.2/bias"
    assert _loading(sgd, **{name: None}) == (
        "last.npz: optimizer/momentum_buffer/layers.2/bias must be floating-point of shape (3,)."
        " Got nothing."
    )
    assert _loading(sgd, **{name: np.zeros(4, np.float32)}) == (
        "last.npz: optimizer/momentum_buffer/layers.2/bias must be floating-point of shape (3,)."
        " Got float32 of shape (4,)."
    )
    assert _loading(sgd, **{name: np.zeros(3, np.int64)}) == (
        "last.npz: optimizer/momentum_buffer/layers.2/bias must be floating-point of shape (3,)."
        " Got int64 of shape (3,)."
    )
    assert _loading(sgd, step=np.array(1.5)) == (
        "last.npz: optimizer/step must be integer of shape () or (5,). Got float64 of shape ()."
    )
    assert _loading(sgd, step=np.arange(4)) == (
        "last.npz: optimizer/step must be integer of shape () or (5,). Got int64 of shape (4,)."
    )
    assert _loading(sgd, step=np.array([1, 1, 0, -1, 1])) == (
        "last.npz: optimizer/step must be 0 or more. Got -1."
    )
    assert _loading(sgd, **{"exp_avg/layers.2/bias": np.zeros(3)}) == (
        "last.npz: the optimizer's state does not belong to this config."
        " Got optimizer/exp_avg/layers.2/bias too."
    )


def test_clipping_as_torch() -> None:
    # clip_grad_norm_ of [3, 4] and [12] to 2 gives a norm of 13 and these numbers.
    gradient = np.array([3.0, 4.0, 0.0, 12.0], np.float32)
    assert clip_grad_norm(gradient, 2.0) == 13.0
    expected = [0.46153842603550577, 0.615384568047341, 0.0, 1.846153704142023]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_a_small_gradient_is_not_clipped() -> None:
    gradient = np.array([3.0, 4.0])
    assert clip_grad_norm(gradient, 5.1) == 5.0
    assert gradient.tolist() == [3.0, 4.0]


def test_a_norm_of_large_and_many_numbers() -> None:
    gradient = np.full(100_003, 1e30, np.float32)
    assert clip_grad_norm(gradient, 1.0) == pytest.approx(1e30 * math.sqrt(100_003), rel=1e-6)
    np.testing.assert_allclose(gradient, 1 / math.sqrt(100_003), rtol=1e-5)


def test_a_gradient_that_is_not_finite_says_so() -> None:
    gradient = np.array([1.0, math.nan])
    assert math.isnan(clip_grad_norm(gradient, 1.0))
    assert np.isnan(gradient).all()  # as in PyTorch
    gradient = np.array([1.0, math.inf])
    assert clip_grad_norm(gradient, 1.0) == math.inf
    assert not np.isfinite(gradient).all()
