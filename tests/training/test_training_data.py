"""Memory for cached images."""

from __future__ import annotations

from pathlib import Path

import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.data.opening import open_dataset
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
