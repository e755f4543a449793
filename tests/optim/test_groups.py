"""Learning rates, decays and freezing by parameter: groups of the flat array, and training with
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures
from recipe_cases import GROUPS
from stubs import Stub, small_graph, stub_graph

from cnn_cli.config import TrainConfig, validate_config
from cnn_cli.errors import ConfigError, ExitCode
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.params import Parameters
from cnn_cli.optim.groups import check_patterns, make_groups
from cnn_cli.optim.optimizer import Group, Groups
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

GOLDEN = Path(__file__).parent.parent / "golden" / "recipes.npz"
# Slices of small_graph's parameters in the flat array.
STEM, SCALE, SHIFT = slice(0, 128), slice(128, 144), slice(144, 160)
HEAD, HEAD_BIAS = slice(160, 192), slice(192, 208)


def groups_of(**keys: Any) -> Groups:
    params = Parameters(small_graph(), "float32")
    assert params.flat.size == HEAD_BIAS.stop
    return make_groups(params, TrainConfig(**keys).rules, keys.pop("epoch", 0))


def test_without_keys_there_is_one_group() -> None:
    assert groups_of() == Groups((Group(slice(0, 208), 1.0, 5e-4),), ())


def test_norm_weight_decay_is_of_norms_and_biases() -> None:
    optimizer = {"type": "sgd", "weight_decay": 0.1, "norm_weight_decay": 0.0}
    assert groups_of(optimizer=optimizer).trained == (
        Group(STEM, 1.0, 0.1),
        Group(slice(128, 160), 1.0, 0.0),
        Group(HEAD, 1.0, 0.1),
        Group(HEAD_BIAS, 1.0, 0.0),
    )


def test_the_last_pattern_that_fits_counts() -> None:
    groups = groups_of(
        lr_factors={"*.bias": 64, "layers.2/bias": 2}, weight_decay_factors={"stem.*": 0.5}
    )
    assert groups.trained == (
        Group(STEM, 1.0, 2.5e-4),
        Group(SCALE, 1.0, 5e-4),
        Group(SHIFT, 64.0, 5e-4),
        Group(HEAD, 1.0, 5e-4),
        Group(HEAD_BIAS, 2.0, 5e-4),
    )


def test_frozen_parameters_are_in_no_group() -> None:
    groups = groups_of(freeze=["layers.1.*"])
    assert groups.trained == (Group(STEM, 1.0, 5e-4), Group(slice(160, 208), 1.0, 5e-4))
    assert groups.frozen == (SCALE, SHIFT)


@pytest.mark.parametrize(
    ("count", "frozen"), [(0, ()), (1, (STEM,)), (2, (STEM, SCALE, SHIFT))], ids=str
)
def test_a_count_is_of_the_first_layers(count: int, frozen: tuple[slice, ...]) -> None:
    assert groups_of(freeze=count).frozen == frozen


def test_freezing_begins_at_its_epoch() -> None:
    params = Parameters(small_graph(), "float32")
    config = TrainConfig(freeze={"stem.weight": 2})
    assert [make_groups(params, config.rules, epoch).frozen for epoch in (1, 2, 3)] == [
        (),
        (STEM,),
        (STEM,),
    ]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_five_steps_of_three_groups_as_torch(kind: str) -> None:
    """PyTorch gives a group its own lr and weight_decay; here they are factors."""
    with np.load(GOLDEN) as golden:
        start, gradients = golden["groups/start"], golden["groups/gradients"]
        expected = golden[f"groups/{kind}"]
    names = ["a", "b", "c"]
    graph = stub_graph(**{name: Stub(ParamSpec("weight", (4,), "weight")) for name in names})
    params = Parameters(graph, "float64")
    keys: dict[str, Any] = {
        "optimizer": {"type": kind, "lr": 0.1, "weight_decay": 0.01},
        "lr_factors": {
            f"{name}.*": group.get("lr", 0.1) / 0.1
            for name, group in zip(names, GROUPS, strict=True)
        },
        "weight_decay_factors": {
            f"{name}.*": group.get("weight_decay", 0.01) / 0.01
            for name, group in zip(names, GROUPS, strict=True)
        },
    }
    config = TrainConfig(**keys)
    optimizer = make_optimizer(config.optimizer, params, make_groups(params, config.rules))
    for view, values in zip(params.views, start, strict=True):
        view["weight"][...] = values
    gradient, views = params.empty_like()
    for rows in gradients:
        for view, values in zip(views, rows, strict=True):
            view["weight"][...] = values
        optimizer.step(gradient, 0.1)
    found = np.stack([view["weight"] for view in params.views])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_pattern_that_nothing_fits() -> None:
    with pytest.raises(ConfigError) as caught:
        check_patterns(small_graph(), TrainConfig(lr_factors={"stem.wieght": 2}).rules, "a.yaml")
    assert str(caught.value) == (
        "a.yaml: train.lr_factors: no parameter has such a name. Did you mean 'stem.weight'? "
        "Got 'stem.wieght'."
    )
    with pytest.raises(ConfigError) as caught:
        check_patterns(small_graph(), TrainConfig(freeze={"xyz": 0}).rules, "a.yaml")
    assert str(caught.value) == "a.yaml: train.freeze: no parameter has such a name. Got 'xyz'."


@pytest.mark.parametrize("count", [3, 4, 2**30])
def test_a_count_leaves_a_layer_with_parameters(count: int) -> None:
    check_patterns(small_graph(), TrainConfig(freeze=2).rules, "a.yaml")
    with pytest.raises(ConfigError) as caught:
        check_patterns(small_graph(), TrainConfig(freeze=count).rules, "a.yaml")
    assert caught.value.code == ExitCode.CONFIG
    assert str(caught.value) == (
        f"a.yaml: train.freeze: must be below the number of layers with parameters, 3. Got {count}."
    )


def test_all_that_is_frozen_later_trains_before() -> None:
    check_patterns(small_graph(), TrainConfig(freeze={"*": 1}).rules, "a.yaml")
    with pytest.raises(ConfigError) as caught:
        check_patterns(
            small_graph(), TrainConfig(freeze={"stem.*": 0, "layers.*": 0}).rules, "a.yaml"
        )
    assert str(caught.value) == (
        "a.yaml: train.freeze: must leave parameters to train. Got 'stem.*', 'layers.*'."
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def states(pictures: Path, out: Path, **keys: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the network's arrays before and after training."""
    for epochs in (0, keys.pop("epochs", 2)):
        config = validate_config(config_document(pictures, epochs=epochs, **keys), "a.yaml")
        options = TrainOptions(out=out, threads=2, overwrite=True)
        train(config, "a.yaml", options, Requests(), Silent())
        if epochs == 0:
            before = load_checkpoint(out / "last.npz").groups["model"]
    return before, load_checkpoint(out / "last.npz").groups["model"]


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name, array in before.items() if not np.array_equal(array, after[name])}


def test_training_with_frozen_layers(pictures: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"freeze": ["stem.*", "batchnorm.*"], "clip_grad_norm": 1.0}
    assert changed(*states(pictures, tmp_path / "run", **keys)) == {
        "layers.5/weight",
        "layers.5/bias",
    }


def test_a_batchnorm_with_a_trained_shift_still_follows_the_batch(
    pictures: Path, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"freeze": ["stem.*", "layers.1.weight", "linear.*"]}
    assert changed(*states(pictures, tmp_path / "run", **keys)) == {
        "layers.1/bias",
        "layers.1/running_mean",
        "layers.1/running_var",
    }


def test_patterns_are_checked_before_training(pictures: Path, tmp_path: Path) -> None:
    config = validate_config(config_document(pictures, freeze=["stm.*"]), "a.yaml")
    with pytest.raises(ConfigError, match="no parameter has such a name"):
        plan_training(config, "a.yaml", TrainOptions(out=tmp_path / "run"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "scheduler",
            "plateau",
            "plateau needs validation images; give some, or choose another schedule.",
        ),
        ("early_stop", 2, "needs validation images; give some, or leave it out. Got 2."),
    ],
)
def test_what_needs_validation_images(
    pictures: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    document = config_document(pictures / "train", **{key: value})
    document["data"]["val_split"] = 0
    config = validate_config(document, "a.yaml")
    with pytest.raises(ConfigError) as caught:
        plan_training(config, "a.yaml", TrainOptions(out=tmp_path / "run"))
    assert str(caught.value) == f"a.yaml: train.{key}: {message}"
