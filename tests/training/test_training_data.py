"""The images of a training: memory for caching them, their order, augmentation and mean."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import Config, validate_config
from cnn_cli.data.augment import make_augmentation
from cnn_cli.data.dataset import Split
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.training import training_data

SIZE = 8 * 8  # bytes of a decoded image


@pytest.mark.parametrize(
    ("images", "modes"), [(36, ["ram", "ram"]), (35, ["ram", "disk"]), (29, ["disk", "ram"])]
)
def test_images_of_both_splits_share_half_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, modes: list[str]
) -> None:
    pictures = make_pictures(tmp_path, train=10, val=2)  # of each of three classes
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("cnn_cli.data.image_store.in_memory", lambda _: False)
    monkeypatch.setattr(training_data, "available_memory", lambda: 2 * SIZE * images)
    config = validate_config(config_document(pictures), "p.yaml")
    dataset = open_dataset(pictures, None, 0.0)
    data = training_data.open_training_data(config, dataset, 1, lambda _: None)
    assert data.val_loader is not None
    with data.train_loader.cache as train, data.val_loader.cache as val:
        assert [train.mode, val.mode] == modes


def config_of(data: dict[str, Any], **train: Any) -> Config:
    document = config_document(Path("pictures"), **train)
    document["augment"] = {"hflip": 0.5}
    document["data"] |= data
    return validate_config(document, "p.yaml")


def test_each_epoch_has_an_order_of_its_own() -> None:
    split = Split([str(i) for i in range(40)], np.repeat([0, 1], [30, 10]))
    orders = [
        training_data.epoch_order(config_of({}, seed=seed), epoch, split, draw=draw).tolist()
        for seed, epoch, draw in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    balanced = training_data.epoch_order(config_of({"sampler": "balanced"}), 0, split)
    assert np.bincount(split.labels[balanced]).tolist() == [20, 20]


@pytest.mark.parametrize("seed", [0, 7])
def test_augmentation_has_the_seed_of_the_training(seed: int) -> None:
    config, pre = config_of({}, seed=seed), Preprocess(8, 8, 1)
    data: Any = SimpleNamespace(train_loader=SimpleNamespace(), preprocess=pre)
    training_data.augment_training(config, data, Normalization((0.5,), (0.2,)))
    expected = make_augmentation(config.augment, seed, pre, (0.5,))
    assert expected is not None
    one = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    other = one.copy()
    data.train_loader.augment(one, np.arange(20), 3)
    expected(other, np.arange(20), 3)
    np.testing.assert_array_equal(one, other)


def test_a_given_mean_goes_before_that_of_the_weights() -> None:
    nothing: Any = None  # no image is read
    weights = Normalization((0.5,), (0.2,))
    for data, expected in (
        ({"mean": [0.4]}, ((0.4,), (0.2,))),
        ({"std": [0.3]}, ((0.5,), (0.3,))),
        ({}, ((0.5,), (0.2,))),
    ):
        found = training_data.measure_normalization(config_of(data), nothing, 1, weights)
        assert (found.mean, found.std) == expected
