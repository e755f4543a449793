"""Overrides of a config file on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cnn_cli.config import Config, load_config, plain_config
from cnn_cli.errors import CnnError, ConfigError, ExitCode, UsageError

TEXT = """
data: {root: pictures, image_size: 28, channels: 1}
model:
  layers:
    - conv: {out_channels: 8, kernel_size: 3}
    - relu
    - maxpool: 2
    - repeat:
        times: 2
        layers:
          - conv: {out_channels: 8, kernel_size: 3, padding: same}
    - leaky_relu
    - linear: classes
train:
  epochs: 5
  optimizer: {type: sgd, lr: 0.2, momentum: 0.8}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    path = folder / "c.yaml"
    path.write_text(TEXT)
    return path


def layers(config: Config) -> list[Any]:
    found = plain_config(config)["model"]["layers"]
    assert isinstance(found, list)
    return found


def test_default_then_config_then_override_then_option(path: Path) -> None:
    assert load_config(path).train.batch_size == 64
    assert load_config(path).train.epochs == 5
    assert load_config(path, ["train.epochs=6"]).train.epochs == 6
    assert load_config(path, ["train.epochs=6"], {"train.epochs": 7}).train.epochs == 7
    assert load_config(path, ["train.epochs=6"], {"train.epochs": None}).train.epochs == 6
    assert load_config(path, ["train.epochs=6", "train.epochs=8"]).train.epochs == 8


def test_values_are_yaml(path: Path) -> None:
    config = load_config(
        path,
        [
            "train.optimizer.lr=1e-3",
            "data.mean=[0.5]",
            "train.label_smoothing=0",
            "train.class_weights=none",
            "train.optimizer.nesterov=false",
            "data.image_size=[28, 30]",
            "data.classes=[no, 'on']",
        ],
    )
    assert config.train.optimizer.lr == 1e-3
    assert config.data.mean == (0.5,)
    assert config.train.label_smoothing == 0
    assert config.train.class_weights is None
    assert config.data.image_size == (28, 30)
    assert config.data.classes == ("no", "on")


def test_a_value_may_hold_an_equals_sign(path: Path) -> None:
    root = load_config(path, ["data.root=/a=b"]).data.root
    assert root == "/a=b"


def test_a_root_in_the_config_is_relative_to_its_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = str(tmp_path / "configs" / "pictures")
    assert load_config(path).data.root == expected
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/c.yaml").data.root == expected


def test_a_root_on_the_command_line_is_relative_to_the_current_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    expected = str(elsewhere / "photos")
    assert load_config(path, ["data.root=photos"]).data.root == expected
    assert load_config(path, [], {"data.root": "photos"}).data.root == expected
    assert load_config(path, ["data={root: photos, channels: 1}"]).data.root == expected
    assert load_config(path, ["data.root=../photos"]).data.root == str(tmp_path / "photos")


def test_a_home_folder(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(path, ["data.root=~/x"]).data.root == os.path.join(tmp_path, "x")


def test_layers_by_number(path: Path) -> None:
    config = load_config(
        path, ["model.layers.0.conv.stride=2", "model.layers.3.repeat.layers.0.conv.bias=false"]
    )
    assert layers(config)[0]["conv"]["stride"] == 2
    assert layers(config)[3]["repeat"]["layers"][0]["conv"]["bias"] is False


def test_a_short_layer_is_given_arguments(path: Path) -> None:
    config = load_config(
        path,
        [
            "model.layers.1.relu.name=first",
            "model.layers.2.maxpool.stride=1",
            "model.layers.4.leaky_relu.negative_slope=0.2",
            "model.layers.5.linear.bias=false",
        ],
    )
    assert layers(config)[1] == {"relu": {"name": "first"}}
    assert layers(config)[2]["maxpool"] == {
        "kernel_size": 2,
        "stride": 1,
        "padding": 0,
        "ceil_mode": False,
        "dilation": 1,
    }
    assert layers(config)[4] == {"leaky_relu": {"negative_slope": 0.2}}
    assert layers(config)[5] == {"linear": {"out_features": "classes", "bias": False}}


def test_a_layer_is_replaced(path: Path) -> None:
    assert layers(load_config(path, ["model.layers.1=gelu"]))[1] == {"gelu": {}}
    assert layers(load_config(path, ["model.layers.1={dropout: 0.1}"]))[1] == {
        "dropout": {"p": 0.1}
    }


def test_sections_are_made_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("model: {layers: [relu]}")
    config = load_config(path, ["train.optimizer.lr=0.5", "data.channels=1"])
    assert config.train.optimizer.lr == 0.5
    assert config.data.channels == 1


def test_another_optimizer_drops_the_old_ones_keys(path: Path) -> None:
    optimizer = load_config(path, ["train.optimizer.type=adamw"]).train.optimizer
    assert optimizer.model_dump() == {
        "type": "adamw",
        "lr": 0.2,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.01,
        "norm_weight_decay": None,
    }


def test_another_schedule_drops_the_old_ones_keys(path: Path) -> None:
    with path.open("a") as file:
        file.write("  scheduler: {type: cosine, min_lr: 0.01, warmup_epochs: 3}\n")
    config = load_config(path, ["train.scheduler.type=step", "train.scheduler.step_size=2"])
    assert config.train.scheduler.model_dump() == {
        "type": "step",
        "step_size": 2,
        "gamma": 0.1,
        "warmup_epochs": 3.0,
    }


@pytest.mark.parametrize("order", [1, -1], ids=["choice first", "choice last"])
def test_no_override_undoes_another_one(path: Path, order: int) -> None:
    def load(*overrides: str) -> Config:
        return load_config(path, overrides[::order])

    with pytest.raises(ConfigError) as caught:
        load("train.optimizer.type=adam", "train.optimizer.momentum=0.9")
    assert caught.value.line() == f"{path}: train.optimizer.momentum: unknown key."
    optimizer = load("train.optimizer=adam", "train.optimizer.lr=0.3").train.optimizer
    assert (optimizer.type, optimizer.lr) == ("adam", 0.3)
    augment = load("augment={vflip: 0.5}", "augment.hflip=0.3").augment
    assert (augment.hflip, augment.vflip) == (0.3, 0.5)
    relu = load("model.layers.1={leaky_relu: 0.5}", "model.layers.1.leaky_relu.negative_slope=0.1")
    assert layers(relu)[1] == {"leaky_relu": {"negative_slope": 0.1}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model.layers=[relu]", "model.network=resnet18"),
        ("model.network=resnet18", "model.layers=[relu]"),
        ("model.network.name=resnet18", "model.network=resnet34"),
        ("train.optimizer.type=adam", "train.optimizer=sgd"),
        ("train.loss=bce", "train.loss.type=focal"),
    ],
)
def test_two_overrides_that_choose_the_same(path: Path, first: str, second: str) -> None:
    error = refused(path, first, "train.epochs=3", second)
    assert error.line() == f"{second}: cannot be combined with {first.partition('=')[0]}."
    assert error.code == ExitCode.CONFIG


@pytest.mark.parametrize("overrides", [["train.optimizer.lr=0.01"], []], ids=["override", "option"])
def test_a_word_for_an_optimizer_stays_when_a_key_is_given(
    tmp_path: Path, overrides: list[str]
) -> None:
    path = tmp_path / "word.yaml"
    path.write_text("model: {layers: [relu]}\ntrain: {optimizer: adam}")
    options = {} if overrides else {"train.optimizer.lr": 0.01}
    optimizer = load_config(path, overrides, options).train.optimizer
    assert optimizer.type == "adam"
    assert optimizer.lr == 0.01


def refused(path: Path, *overrides: str) -> CnnError:
    with pytest.raises(CnnError) as caught:
        load_config(path, overrides)
    return caught.value


def test_an_override_without_a_value(path: Path) -> None:
    for text in ("train.epochs", "=3"):
        error = refused(path, text)
        assert isinstance(error, UsageError)
        assert error.code == ExitCode.USAGE
        assert error.line() == f"{text}: an override is written KEY=VALUE, such as train.epochs=3."


def test_errors_of_overrides(path: Path) -> None:
    cases = {
        "train.epoch=3": f"{path}: train.epoch: unknown key. Did you mean 'epochs'?",
        "train.epochs=x": f"{path}: train.epochs: must be a whole number, 0 or more. Got 'x'.",
        "model.layers.9=relu": (
            "model.layers.9=relu: model.layers is a list of 6, counted from 0. Got '9'."
        ),
        "model.layers.x=relu": (
            "model.layers.x=relu: model.layers is a list of 6, counted from 0. Got 'x'."
        ),
        "train.epochs=[": (
            "train.epochs: is not YAML: expected the node content, but found '<stream end>'"
            " at line 1, column 2."
        ),
        "model.layers.1.relu=3": f"{path}: model.layers[1].relu: takes no argument but name.",
        "train.epochs.x=3": (
            f"{path}: train.epochs: must be a whole number, 0 or more. Got a mapping."
        ),
    }
    for override, expected in cases.items():
        error = refused(path, override).line()
        assert error == expected


def test_the_file_is_left_as_it_was(path: Path) -> None:
    load_config(path, ["train.epochs=9"])
    assert path.read_text() == TEXT
