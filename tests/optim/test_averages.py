"""EMA and Lookahead: the papers' formulas, and trainings with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures
from stubs import small_graph

from cnn_cli.config import TrainConfig, validate_config
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array
from cnn_cli.optim.averages import Ema, Lookahead, LookaheadConfig, make_average
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


def random_params(seed: int) -> Parameters:
    params = Parameters(small_graph(), "float64")
    rng = np.random.default_rng(seed)
    params.flat[:] = rng.standard_normal(params.flat.size)
    params.flat_buffers[:] = rng.standard_normal(params.flat_buffers.size)
    return params


def numbers(params: Parameters) -> Array:
    return np.concatenate([params.flat, params.flat_buffers])


def test_neither_is_no_average() -> None:
    assert make_average(random_params(0), TrainConfig().ema, TrainConfig().lookahead) is None


def test_ema_is_the_moving_average_of_weights_and_statistics() -> None:
    trained = random_params(0)
    average = Ema(trained, 0.9)
    expected = numbers(trained)
    for step in range(1, 6):
        trained = random_params(step)
        version = average.params.version
        average.update(trained, step, 5)
        expected = 0.9 * expected + 0.1 * numbers(trained)
        assert average.params.version > version
        assert (numbers(trained) == numbers(random_params(step))).all()
    np.testing.assert_allclose(numbers(average.params), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("power", [0.0, 3.0])
def test_lookahead_goes_back_to_slow_weights_each_k_steps(power: float) -> None:
    """With power 0, algorithm 1 of Zhang et al.; with power 3, the decay of arXiv:2404.00498."""
    fast = random_params(0)
    average = Lookahead(fast, LookaheadConfig(every=3, decay=0.25, power=power))
    slow, expected = numbers(fast), numbers(fast)
    for step in range(1, 14):  # of 10: `cnn lr` may go on after the last one
        movement = numbers(random_params(step))
        fast.flat += movement[: fast.flat.size]
        fast.flat_buffers += movement[fast.flat.size :]
        expected = expected + movement
        if step % 3 == 0:
            stays = 0.25 * min(step / 10, 1) ** power
            slow = stays * slow + (1 - stays) * expected
            expected = slow
        average.update(fast, step, 10)
        np.testing.assert_allclose(numbers(fast), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(numbers(average.params), slow, rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(pictures: Path, out: Path, **keys: Any) -> dict[str, dict[str, Array]]:
    config = validate_config(config_document(pictures, **keys), "a.yaml")
    train(config, "a.yaml", TrainOptions(out=out, threads=2), Requests(), Silent())
    return load_checkpoint(out / "last.npz").groups


@pytest.mark.parametrize("keys", [{"ema": 0.8}, {"lookahead": {"every": 3}}])
def test_the_average_is_what_is_evaluated_and_best(
    pictures: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    last = run(pictures, tmp_path / "run", epochs=1, precise_bn=False, **keys)
    best = load_checkpoint(tmp_path / "run" / "best.npz").groups["model"]
    assert set(last["ema"]) == set(last["model"]) == set(best)
    for name, array in last["ema"].items():
        np.testing.assert_array_equal(array, best[name])
        assert not np.array_equal(array, last["model"][name])
    for file in ("best.npz", "last.npz"):
        params = Classifier.load(tmp_path / "run" / file).params
        found = params.named() | params.named_buffers()
        for name, array in last["ema"].items():
            np.testing.assert_array_equal(found[name], array)


def test_ema_leaves_the_trained_weights_alone(pictures: Path, tmp_path: Path) -> None:
    with_ema = run(pictures, tmp_path / "a", ema=0.9)
    without = run(pictures, tmp_path / "b")
    assert "ema" not in without
    for group in ("model", "optimizer"):
        for name, array in without[group].items():
            np.testing.assert_array_equal(with_ema[group][name], array)


def test_precise_statistics_are_of_the_average(pictures: Path, tmp_path: Path) -> None:
    """The first layer's statistics depend on its weights and the images alone."""
    keys: dict[str, Any] = {"epochs": 1, "precise_bn": True, "optimizer": {"lr": 0.0}}
    plain = run(pictures, tmp_path / "a", **keys)["precise_bn"]
    averaged = run(pictures, tmp_path / "b", ema=0.5, **keys)["precise_bn"]
    for name, array in plain.items():
        np.testing.assert_array_equal(averaged[name], array)
    keys["optimizer"] = {"lr": 0.1}
    groups = run(pictures, tmp_path / "c", ema=0.99, **keys)
    for name, array in groups["precise_bn"].items():
        # 4 steps of an average with 0.99 leave it near its start.
        np.testing.assert_allclose(array, plain[name], rtol=0.2, atol=0.02)
    trained = run(pictures, tmp_path / "d", **keys)["model"]
    for name, array in trained.items():
        np.testing.assert_array_equal(groups["model"][name], array)


def test_weights_come_from_the_average(pictures: Path, tmp_path: Path) -> None:
    ema = run(pictures, tmp_path / "a", ema=0.9)["ema"]
    weights = str(tmp_path / "a" / "last.npz")
    config = validate_config(config_document(pictures, epochs=0, weights=weights), "a.yaml")
    options = TrainOptions(out=tmp_path / "b", threads=1)
    train(config, "a.yaml", options, Requests(), Silent())
    for name, array in load_checkpoint(tmp_path / "b" / "last.npz").groups["model"].items():
        np.testing.assert_array_equal(array, ema[name])


def test_a_checkpoint_without_its_average_is_refused(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=1, ema=0.9)
    last = tmp_path / "run" / "last.npz"
    checkpoint = load_checkpoint(last)
    del checkpoint.groups["ema"]
    save_checkpoint(last, checkpoint)
    config = validate_config(config_document(pictures, epochs=2, ema=0.9), "a.yaml")
    options = TrainOptions(out=tmp_path / "run", threads=1, resume=True)
    with pytest.raises(DataError, match="tensors do not match the network"):
        train(config, "a.yaml", options, Requests(), Silent())
