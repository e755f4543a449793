"""Gradient accumulation gives the same training as a larger batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.data.opening import open_dataset
from cnn_cli.rng import Purpose, generator
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.results import EpochRow
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


class Rows(Silent):
    def __init__(self, requests: Requests, stop_at: tuple[int, int] | None) -> None:
        self.rows: list[EpochRow] = []
        self.requests, self.stop_at = requests, stop_at

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        if (epoch, step) == self.stop_at:
            self.requests.ask_stop("terminated")

    def epoch(self, row: EpochRow, best: bool) -> None:
        self.rows.append(row)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(
    pictures: Path,
    out: Path,
    *,
    stop_at: tuple[int, int] | None = None,
    resume: bool = False,
    **keys: Any,
) -> tuple[dict[str, dict[str, Any]], list[EpochRow]]:
    """Return the last checkpoint's arrays and the epochs, for a network without batchnorm or
    dropout.
    """
    document = config_document(pictures, **keys)
    layers = document["model"]["layers"]
    document["model"]["layers"] = [layers[0], "silu", {"maxpool": 2}, {"linear": "classes"}]
    config = validate_config(document, "a.yaml")
    requests = Requests()
    rows = Rows(requests, stop_at)
    train(config, "a.yaml", TrainOptions(out=out, threads=2, resume=resume), requests, rows)
    return load_checkpoint(out / "last.npz").groups, rows.rows


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": {"type": "sgd", "lr": 0.05}, "class_weights": [1, 0.25, 3]},
        {"optimizer": {"type": "adamw", "lr": 0.01}, "clip_grad_norm": 0.1, "ema": 0.9},
        {"lookahead": {"every": 2, "power": 1}, "scheduler": {"type": "linear"}},
    ],
)
def test_as_one_batch_of_so_many_times_the_images(
    pictures: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    """60 images: 25 and 25 and 10, against batches of 5 in fives and a last two."""
    keys = keys | {"dtype": "float64"}
    whole, whole_rows = run(pictures, tmp_path / "whole", batch_size=25, **keys)
    parts, parts_rows = run(pictures, tmp_path / "parts", batch_size=5, accumulate=5, **keys)
    assert set(parts) == set(whole)
    for group in whole:
        for name, array in whole[group].items():
            np.testing.assert_allclose(parts[group][name], array, rtol=1e-9, atol=1e-12)
    assert [row.lr for row in parts_rows] == [row.lr for row in whole_rows]


@pytest.mark.parametrize("stop_at", [(1, 3), (2, 5), (2, 11)])
def test_stopped_within_an_update_it_goes_on_to_the_same_bits(
    pictures: Path, tmp_path: Path, stop_at: tuple[int, int]
) -> None:
    keys: dict[str, Any] = {"batch_size": 5, "accumulate": 5, "ema": 0.8}
    whole, _ = run(pictures, tmp_path / "whole", **keys)
    middle, _ = run(pictures, tmp_path / "parts", stop_at=stop_at, **keys)
    assert ("accumulated" in middle) == (stop_at[1] % 5 != 0)
    parts, _ = run(pictures, tmp_path / "parts", resume=True, **keys)
    assert "accumulated" not in parts
    for group in whole:
        for name, array in whole[group].items():
            np.testing.assert_array_equal(parts[group][name], array)


def test_a_left_out_batch_ends_an_update_all_the_same(tmp_path: Path) -> None:
    """Updates count positions in the order, whichever images are unreadable."""
    pictures = make_pictures(tmp_path / "pictures", train=4, val=1)  # 12 images
    for path in (pictures / "train").rglob("[123].png"):
        path.write_bytes(b"")
    groups, _ = run(pictures, tmp_path / "run", batch_size=1, accumulate=3, epochs=3)
    paths = open_dataset(pictures, None, 0.0).train.paths
    good = np.array([not path.endswith(("1.png", "2.png", "3.png")) for path in paths])
    orders = [generator(0, Purpose.SHUFFLE, epoch).permutation(12) for epoch in range(3)]
    updates = sum(int(good[order].reshape(4, 3).any(axis=1).sum()) for order in orders)
    assert int(groups["optimizer"]["step"]) == updates < 12
