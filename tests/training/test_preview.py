"""A preview equals the training's images bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import CLASSES, config_document, make_pictures

from cnn_cli.config import Config, validate_config
from cnn_cli.errors import DataError
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.preview import mixed_pixels, preview
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

ALL: dict[str, Any] = {
    "random_resized_crop": [0.5, 1.0],
    "hflip": "alternating",
    "pad_crop": 1,
    "trivialaugment": True,
    "rotate": 10,
    "color_jitter": {"brightness": 0.3},
    "random_erase": 0.5,
}
MIXES: dict[str, Any] = {"mixup": {"alpha": 1, "p": 0.7}, "cutmix": {"alpha": 1, "p": 0.7}}
IMAGES = 30  # and batches of 16


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_pictures(tmp_path_factory.mktemp("pictures"), train=10, val=2)
    (root / "train/dark/broken.png").write_bytes(b"no image")
    return root


def config_for(pictures: Path, augment: dict[str, Any], **train: Any) -> Config:
    document = config_document(pictures, **{"epochs": 2} | train) | {"augment": augment}
    return validate_config(document, "p.yaml")


class Given:
    """The inputs of training's steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[Array, Array, Mix | None]] = []
        original = TrainingEngine.train_step

        def step(
            engine: TrainingEngine, x: Array, targets: Array, *rest: Any, **options: Any
        ) -> Any:
            self.steps.append((x.copy(), targets.copy(), options["mix"]))
            return original(engine, x, targets, *rest, **options)

        monkeypatch.setattr(TrainingEngine, "train_step", step)


@pytest.mark.parametrize("augment", [{}, ALL, ALL | MIXES], ids=["none", "all", "mixes"])
def test_pixels_and_labels_are_those_of_training(
    pictures: Path, tmp_path: Path, augment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_images(config_for(pictures, augment), tmp_path, monkeypatch)


def test_while_the_head_trains_alone_images_are_unchanged(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_of_head: dict[str, Any] = {"head": {"epochs": 2}, "ema": 0.9}  # which caches no features
    config = config_for(pictures, ALL | MIXES, **train_of_head)
    assert_same_images(config, tmp_path, monkeypatch, mixes=False)


def test_erased_parts_have_the_mean_that_the_weights_expect(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = config_document(pictures, epochs=1)
    document["data"] |= {"mean": [0.9], "std": [0.2]}
    run(validate_config(document, "p.yaml"), tmp_path / "weights")
    augment = {"random_erase": {"p": 1.0, "value": "mean"}}
    config = config_for(pictures, augment, weights=str(tmp_path / "weights"))
    assert_same_images(config, tmp_path, monkeypatch, mixes=False)


def run(config: Config, place: Path) -> None:
    train(config, "p.yaml", TrainOptions(place, threads=1), Requests(), Silent())


def assert_same_images(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixes: bool | None = None
) -> None:
    """Train, and compare the images of the second of two epochs with their preview.

    Args:
        mixes: whether images are mixed; by default whether the config says so.
    """
    mixes = config.augment.mixup is not None if mixes is None else mixes
    given = Given(monkeypatch)
    run(config, tmp_path / "run")
    steps = given.steps[len(given.steps) // 2 :]  # the second epoch's
    found = preview(config, "p.yaml", 1, 1000, threads=3)
    assert (found.classes, found.images) == (CLASSES, IMAGES + 1)
    assert len(found.samples) == IMAGES
    samples = iter(found.samples)
    mixed = 0
    for x, targets, mix in steps:
        assert (mix is None) != mixes
        expected = x if mix is None else mixed_pixels(x, mix)
        for pixels, row in zip(expected, targets, strict=True):
            sample = next(samples)
            np.testing.assert_array_equal(sample.pixels, pixels)
            labels = {name: share for name, share in zip(CLASSES, row, strict=True) if share}
            assert dict(sample.labels) == pytest.approx(labels, abs=1e-6)
            assert sample.path.split("/")[-2] in labels
            mixed += len(labels) > 1
    assert (mixed > 5) == mixes


def test_pixels_of_mixed_images_are_rounded_once() -> None:
    x = np.array([[[[100]]], [[[201]]]], np.uint8)
    mix = Mix(np.array([1, 0]), np.zeros(2), np.array([0.5, 0.25]), np.zeros((2, 4), int))
    assert mixed_pixels(x, mix).ravel().tolist() == [150, 125]
    assert x.ravel().tolist() == [100, 201]


def test_only_as_many_as_asked_for(pictures: Path) -> None:
    config = config_for(pictures, ALL, batch_size=4)
    few, more = (preview(config, "p.yaml", 0, n, threads=2).samples for n in (3, 9))
    assert [len(few), len(more)] == [3, 9]
    for one, other in zip(few, more, strict=False):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_nothing_that_can_be_read(pictures: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"no image")
    config = config_for(tmp_path, {"hflip": 0.5})
    with pytest.raises(DataError) as caught:
        preview(config, "p.yaml", 0, 9, threads=1)
    rule = "must hold a readable image. Got 2 that cannot, such as"
    why = "not an image Pillow can read"
    assert caught.value.line() == f"{tmp_path}: {rule} {tmp_path}/a/x.png: {why}."
