"""Muon, against its iteration in PyTorch, and combined with other optimizers."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipe_cases import MUONS
from stubs import Stub, stub_graph

from cnn_cli.config import TrainConfig
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array
from cnn_cli.optim.groups import make_groups
from cnn_cli.optim.optimizer import Group, Optimizer
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.optim.optimizers.muon import MuonConfig, orthogonalize

GOLDEN = Path(__file__).parent.parent / "golden" / "recipes.npz"


def banks() -> Graph:
    """Filters of the golden file's shapes with biases, and a layer of another kind."""
    return stub_graph(
        high=Conv((5, 5, 1), out_channels=9, kernel_size=(2, 2)),
        wide=Conv((5, 5, 3), out_channels=4, kernel_size=(3, 3)),
        head=Stub(ParamSpec("weight", (7, 3), "weight", 7, (1, 0))),
    )


def muon(dtype: str = "float64", **keys: Any) -> Optimizer:
    config = TrainConfig.model_validate({"optimizer": {"type": "muon"} | keys})
    return make_optimizer(config.optimizer, Parameters(banks(), dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
@pytest.mark.parametrize("name", MUONS)
def test_four_steps_as_written_out_in_torch(name: str, dtype: str, tolerance: float) -> None:
    optimizer = muon(dtype, **MUONS[name])
    gradient, views = optimizer.params.empty_like()
    weights, gradients = optimizer.params.named(), optimizer.params.named(views)
    with np.load(GOLDEN) as golden:
        for bank in ("high", "wide"):
            weights[f"{bank}/weight"][...] = golden[f"muon/start/{bank}"]
        for step in range(4):
            for bank in ("high", "wide"):
                gradients[f"{bank}/weight"][...] = golden[f"muon/gradients/{bank}"][step]
            optimizer.step(gradient, MUONS[name]["lr"])
        for bank in ("high", "wide"):
            expected = golden[f"muon/{name}/{bank}"]
            np.testing.assert_allclose(
                weights[f"{bank}/weight"], expected, rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (12, 12)])
def test_orthogonalized_keeps_directions_and_evens_their_strengths(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    strengths = np.diag(left.T @ orthogonalize(matrix, 5) @ right.T)
    assert 0.65 < strengths.min() < strengths.max() < 1.25


def random_gradient(params: Parameters, seed: int) -> Array:
    gradient, views = params.empty_like()
    rng = np.random.default_rng(seed)
    for node_views in views:
        for view in node_views.values():
            view[...] = rng.standard_normal(view.shape)
    return gradient


@pytest.mark.parametrize("other", ["sgd", "adam", "adamw"])
def test_the_rest_moves_as_the_other_optimizer_says(other: str) -> None:
    keys = {"type": other, "lr": 0.05, "weight_decay": 0.1, "norm_weight_decay": 0.0}
    both = muon(lr=0.02, other=keys)
    config = TrainConfig.model_validate({"optimizer": keys})
    alone = make_optimizer(config.optimizer, both.params.copy())
    for seed in range(3):
        gradient = random_gradient(both.params, seed)
        both.step(gradient, 0.01)  # half of the full rate
        alone.step(gradient, 0.025)
    ours, theirs = both.params.named(), alone.params.named()
    for name in ("high/bias", "wide/bias", "head/weight"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-13)
    assert not np.allclose(ours["wide/weight"], theirs["wide/weight"])


@pytest.mark.parametrize("other", ["sgd", "adam", "adamw"])
def test_what_was_frozen_starts_as_the_other_optimizer_does(other: str) -> None:
    single = {"type": other, "lr": 0.02}
    keys = {"optimizer": {"type": "muon", "other": single}, "freeze": ["head.*"]}
    both = muon(other=single)
    config = TrainConfig.model_validate({"optimizer": single})
    alone = make_optimizer(config.optimizer, both.params.copy())
    everything = both.groups
    both.groups = make_groups(both.params, TrainConfig.model_validate(keys).rules)
    for seed in range(50):
        both.step(random_gradient(both.params, seed), 0.02)
    both.groups = everything
    for seed in range(3):
        gradient = random_gradient(both.params, seed)
        both.step(gradient, 0.02)
        alone.step(gradient, 0.02)
    ours, theirs = both.params.named(), alone.params.named()
    np.testing.assert_allclose(ours["head/weight"], theirs["head/weight"], rtol=1e-13)


@pytest.mark.parametrize("other", ["sgd", "adamw"])
def test_saved_and_restored_it_goes_on_with_the_same_bits(other: str) -> None:
    first = muon("float32", other=other)
    for seed in range(2):
        first.step(random_gradient(first.params, seed), 0.02)
    second = make_optimizer(
        TrainConfig.model_validate({"optimizer": {"type": "muon", "other": other}}).optimizer,
        first.params.copy(),
    )
    saved = {name: array.copy() for name, array in first.named_state().items()}
    second.load_named_state(saved, "last.npz")
    for seed in (2, 3):
        for optimizer in (first, second):
            optimizer.step(random_gradient(first.params, seed), 0.02)
    assert (first.params.flat == second.params.flat).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_share_the_filters_with_the_same_bits(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_cli.optim.optimizer.SHARED", 1)
    alone, shared = muon("float32"), muon("float32")
    with closing(Team(threads)) as team:
        for seed in range(3):
            gradient = random_gradient(alone.params, seed)
            alone.step(gradient, 0.02)
            shared.step(gradient, 0.02, team.share)
    assert shared.params.flat.tobytes() == alone.params.flat.tobytes()
    for name, array in alone.named_state().items():
        assert shared.named_state()[name].tobytes() == array.tobytes()


def test_filters_of_several_layers_are_updated_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cnn_cli.optim.optimizer.SHARED", 1)
    optimizer = muon("float32")
    together = threading.Barrier(2, timeout=60)
    move = optimizer.move

    def wait_for_another(group: Group, gradient: Array, lr: float, steps: int) -> None:
        if group.matrix is not None:
            together.wait()
        move(group, gradient, lr, steps)

    optimizer.move = wait_for_another  # type: ignore[method-assign]  # there are two filter banks
    with closing(Team(2)) as team:
        optimizer.step(random_gradient(optimizer.params, 0), 0.02, team.share)


def test_filters_have_factors_and_can_be_frozen() -> None:
    params = Parameters(banks(), "float32")
    config = TrainConfig.model_validate(
        {
            "optimizer": {"type": "muon", "weight_decay": 0.5},
            "lr_factors": {"wide.weight": 2},
            "freeze": ["high.weight"],
        }
    )
    groups = make_groups(params, config.rules)
    assert [(g.lr_factor, g.weight_decay, g.matrix) for g in groups.trained] == [
        (5.0, 5e-4, None),
        (2.0, 0.5, (27, 4)),
        (5.0, 5e-4, None),
    ]
    assert len(groups.frozen) == 1


def test_divergence_is_silent_and_nothing_is_no_movement() -> None:
    optimizer = muon("float32", normalize_weights=True)
    optimizer.step(np.zeros_like(optimizer.params.flat), 0.1)
    assert not optimizer.params.flat.any()
    optimizer.params.flat.fill(3e38)
    for value in (3e38, np.inf, np.nan):
        optimizer.step(np.full_like(optimizer.params.flat, value), 1e10)


def test_weight_decay_follows_the_rate_of_the_step() -> None:
    optimizer = muon(weight_decay=0.1, lr=0.02)
    weight = optimizer.params.named()["high/weight"]
    weight.fill(1)
    optimizer.step(np.zeros_like(optimizer.params.flat), 0.5)
    np.testing.assert_allclose(weight, 1 - 0.5 * 0.1)


def test_defaults_are_the_authors() -> None:
    config = MuonConfig()
    assert (config.lr, config.momentum, config.nesterov, config.steps) == (0.02, 0.95, True, 5)
