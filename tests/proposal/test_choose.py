"""The choice of `cnn init` for surveys and measurements; every config is valid."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cnn_cli.config import Config, load_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.augment import make_augmentation
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import ConfigError
from cnn_cli.optim.optimizers.muon import MuonConfig
from cnn_cli.proposal import propose as module
from cnn_cli.proposal.choose import (
    Candidate,
    Speed,
    enough_epochs,
    fit,
    least_epochs,
    most_epochs,
    networks,
)
from cnn_cli.proposal.config_text import config_yaml
from cnn_cli.proposal.propose import propose, relative_root
from cnn_cli.proposal.survey import Survey
from cnn_cli.proposal.words import head_lines, time_text

PHOTOS = Survey(
    classes=("bird", "cat"),
    train=(800, 800),
    train_images=1600,
    val=(100, 100),
    val_images=200,
    test=0,
    val_split=0.1,
    looked_at=256,
    unreadable=0,
    width=500,
    height=375,
    uniform=False,
    bands=3,
    depth=8,
    sample=("x.jpg",),
)
SMALL = replace(PHOTOS, width=28, height=28, uniform=True, bands=1)
FAST = Speed(1e6, 1e6, 1e6, 1e6)


def test_networks_for_photographs() -> None:
    assert [(n.size, n.stem_stride, n.widths[0]) for n in networks(PHOTOS)] == [
        ((128, 128), 2, 32),
        ((96, 96), 2, 32),
        ((64, 64), 2, 32),
        ((64, 64), 2, 16),
    ]


@pytest.mark.parametrize(
    ("width", "height", "uniform", "kind", "sizes"),
    [
        (28, 28, True, "plain", {(28, 28)}),
        (8, 8, True, "plain", {(8, 8)}),
        (3, 5, True, "plain", {(13, 8)}),  # enlarged
        (40, 24, True, "plain", {(24, 40)}),
        (300, 30, True, "plain", {(30, 90)}),  # squashed
        (30, 33, False, "plain", {(30, 30)}),
        (64, 64, True, "residual", {(64, 64)}),
        (100, 110, False, "residual", {(96, 96), (64, 64)}),
        (800, 400, False, "residual", {(88, 184), (64, 136), (48, 88)}),
        (100, 4000, False, "residual", {(168, 56), (112, 40)}),
    ],
)
def test_sizes(
    width: int, height: int, uniform: bool, kind: str, sizes: set[tuple[int, int]]
) -> None:
    found = networks(replace(PHOTOS, width=width, height=height, uniform=uniform))
    assert {network.kind for network in found} == {kind}
    assert {network.size for network in found} == sizes


def test_epochs_that_fit() -> None:
    network = networks(PHOTOS)[0]
    speed = Speed(training=400, prediction=1000, decoding=180, augmenting=1600)
    choice = fit(PHOTOS, network, speed, 600)
    # 1,600 images are trained and augmented, 200 validated; all are decoded once.
    assert choice.epoch_seconds == pytest.approx(4 + 1 + 0.2)
    assert choice.epochs == int((0.92 * 600 - 4 - 10) / 5.2)
    assert choice.seconds == pytest.approx(14 + choice.epochs * 5.2)
    assert choice.seconds < 600
    assert choice.fits
    assert choice.limited
    assert choice.strong


def test_epochs_are_bounded() -> None:
    network = networks(PHOTOS)[0]
    plenty = fit(PHOTOS, network, FAST, 600)
    assert (plenty.epochs, plenty.fits, plenty.limited) == (most_epochs(1600), True, False)
    none = fit(PHOTOS, network, FAST, 1)
    assert (none.epochs, none.fits, none.strong) == (least_epochs(1600), False, False)


@pytest.mark.parametrize("images", [2, 100, 5_000, 60_000, 1_000_000])
def test_bounds_are_in_order(images: int) -> None:
    assert 3 <= least_epochs(images) < enough_epochs(images) < most_epochs(images) <= 200


def test_a_small_batch_looks_at_the_images_again() -> None:
    tiny = replace(PHOTOS, train=(20, 20), train_images=40, val=None, val_images=0)
    speed = Speed(training=40, prediction=80, decoding=40, augmenting=20)
    choice = fit(tiny, networks(tiny)[0], speed, 600)
    assert choice.batch_size == 8
    assert choice.epoch_seconds == pytest.approx(1 + 2 + 0.5 + 2)


def many_surveys() -> list[Survey]:
    """Return every size with every number of images, and cycle through the rest."""
    sizes = [(28, 28), (5, 3), (200, 20), (64, 48), (500, 375), (900, 200), (90, 2000)]
    counts = [(1, 1), (3, 9), (100, 90), (2000, 2000), (5, 4000), (40_000, 40_000)]
    return [
        replace(
            PHOTOS,
            width=size[0],
            height=size[1],
            uniform=i % 2 == 0,
            bands=1 if i % 3 == 0 else 3,
            train=train,
            val=None if train == (1, 1) else (0, 1),
            val_split=None if i % 5 == 0 else 0.2,
        )
        for i, (size, train) in enumerate(product(sizes, counts))
    ]


def test_every_config_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    seen = set()
    for i, survey in enumerate(many_surveys()):
        suitable = networks(survey)
        network = suitable[i % len(suitable)]
        budget = 1.0 if i % 4 == 0 else 1e5
        choice = fit(survey, network, FAST, budget)
        head = head_lines(survey, choice, budget)
        file.write_text(config_yaml(survey, choice, "photos", "cnn train x.yaml", head))
        config = load_config(file)
        assert config.data.root == str(tmp_path / "photos")
        assert config.data.channels == (1 if survey.gray else 3)
        assert config.train.epochs == choice.epochs
        assert config.train.keeps_last
        optimizer = config.train.optimizer
        assert isinstance(optimizer, MuonConfig)
        assert optimizer.other.lr == optimizer.lr
        assert max(len(line) for line in file.read_text().splitlines()) <= 120
        in_shape = (*config.data.image_size, config.data.channels)
        build_graph(config.model, in_shape, 2, "x.yaml")
        pre = Preprocess(*in_shape)
        assert make_augmentation(config.augment, 0, pre, (0.5,) * pre.channels) is not None
        seen.add((network.kind, network.stem_stride, network.widths, choice.strong, survey.gray))
    assert len(seen) > 10


@pytest.mark.parametrize(
    ("root", "file", "expected"),
    [
        ("photos", "photos.yaml", "photos"),
        ("a/photos", "x.yaml", "a/photos"),
        ("photos", "photos/x.yaml", "."),
        ("~me", "x.yaml", "./~me"),
    ],
)
def test_a_root_below_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, file: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative_root(Path(root), Path(file)) == expected


def test_a_root_elsewhere(tmp_path: Path) -> None:
    assert relative_root(tmp_path / "a", tmp_path / "b" / "x.yaml") == str(tmp_path / "a")


@pytest.mark.parametrize(
    "name", ['a "b" \\ c', "a: b # c", "fußball 猫", "new\nline", "{x}", "yes"]
)
def test_odd_names_of_folders_come_back(tmp_path: Path, name: str) -> None:
    choice = fit(PHOTOS, networks(PHOTOS)[0], FAST, 60)
    survey = replace(PHOTOS, classes=(name, "b"), val=(0, 3))
    file = tmp_path / "x.yaml"
    head = head_lines(survey, choice, 60)
    file.write_bytes(config_yaml(survey, choice, name, f"cnn train {name}", head).encode())
    assert load_config(file).data.root == str(tmp_path / name)


class Speeds:
    """Fixed speeds: an image takes longer the more pixels and channels it has."""

    def __init__(self, speed: float, too_large: int = 1000) -> None:
        self.speed = speed
        self.too_large = too_large
        self.seen: list[Candidate] = []

    def __call__(self, config: Config, survey: Survey, source: str) -> Speed:
        height, width = config.data.image_size
        if height > self.too_large:
            raise ConfigError(source, "the network needs more memory than there is")
        first: Any = config.model.layers[0]
        rate = self.speed / (height * width * first.out_channels)
        self.seen.append(Candidate((height, width), "residual", (first.out_channels,)))
        return Speed(rate, 1e9, 1e9, 1e9)


@pytest.mark.parametrize(
    ("epochs", "size", "fits"),
    [(500, 128, True), (100, 128, True), (75, 96, True), (40, 64, True), (1, 64, False)],
)
def test_the_best_network_that_has_time(
    monkeypatch: pytest.MonkeyPatch, epochs: int, size: int, fits: bool
) -> None:
    """`epochs` of the largest would fit."""
    monkeypatch.setattr(module, "survey", lambda *_: PHOTOS)
    seconds = (0.92 * 600 - 4) / epochs
    measure = Speeds(1600 / seconds * 128 * 128 * 32)
    proposal = propose(Path("photos"), Path("x.yaml"), 600, 1, measure, start="scratch")
    assert proposal.choice.network.size == (size, size)
    assert proposal.choice.fits == fits
    assert proposal.config.train.epochs == proposal.choice.epochs
    assert proposal.next == "cnn train x.yaml"


def test_a_network_that_does_not_fit_in_memory_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "survey", lambda *_: PHOTOS)
    proposal = propose(
        Path("photos"), Path("x.yaml"), 600, 1, Speeds(1e12, too_large=96), start="scratch"
    )
    assert proposal.choice.network.size == (96, 96)
    with pytest.raises(ConfigError, match="more memory than there is"):
        propose(Path("photos"), Path("x.yaml"), 600, 1, Speeds(1e12, too_large=10), start="scratch")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1s"), (59, "59s"), (60, "1m"), (272, "4m32s"), (7200, "2h"), (7530, "2h05m")],
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
