"""One step of training against plain NumPy: the loss is written out, its gradient is numerical."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import make_folders

from cnn_cli.config import AugmentConfig, validate_config
from cnn_cli.data.opening import open_dataset
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.optim.averages import Lookahead
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.mixing import Mixer
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

MEAN, STD, LR = 0.4, 0.3, 0.1
COUNTS = {"a": 6, "b": 3, "c": 2}
BALANCED = [11 / (3 * count) for count in COUNTS.values()]  # scikit-learn's formula


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("pictures"), COUNTS)


def run(
    root: Path, out: Path, augment: dict[str, Any] | None = None, **keys: Any
) -> tuple[Array, list[dict[str, str]]]:
    """Train a linear layer; return its weights and the metrics of the epochs."""
    sgd = {"type": "sgd", "lr": LR, "momentum": 0, "weight_decay": 0}
    given = {"epochs": 1, "dtype": "float64", "optimizer": sgd, "scheduler": "constant"} | keys
    document = {
        "data": {
            **{"root": str(root), "image_size": 4, "channels": 1, "val_split": 0},
            **{"mean": [MEAN], "std": [STD], "resize_mode": "squash"},
        },
        "augment": augment or {},
        "model": {"layers": [{"linear": "classes"}]},
        "train": given,
    }
    config = validate_config(document, "c.yaml")
    train(config, "c.yaml", TrainOptions(out=out, threads=1), Requests(), Silent())
    arrays = load_checkpoint(out / "last.npz").groups["model"]
    (name,) = {each.rpartition("/")[0] for each in arrays}
    rows = [*csv.DictReader((out / "metrics.csv").read_text().splitlines())]
    weights = np.column_stack([arrays[f"{name}/weight"], arrays[f"{name}/bias"]])
    return weights, rows


def inputs(root: Path) -> tuple[Array, Array]:
    """Return the normalized pixels, with a 1 for the bias, and the labels."""
    from PIL import Image

    split = open_dataset(root, None, 0.0).train
    small = [Image.open(path).resize((4, 4), Image.Resampling.BILINEAR) for path in split.paths]
    pixels = np.stack([np.asarray(image).ravel() for image in small]) / 255
    return np.column_stack([(pixels - MEAN) / STD, np.ones(len(pixels))]), split.labels


def mean_loss(kind: str, logits: Array, labels: Array, smoothing: float, weights: Any) -> float:
    classes = logits.shape[1]
    w = np.ones(classes) if weights is None else np.array(weights)
    t = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    if kind == "bce":
        p = 1 / (1 + np.exp(-logits))
        return float(-(w * t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    terms = t * w * (1 - p) ** (2 if kind == "focal" else 0) * -np.log(p)
    return float(terms.sum() / w[labels].sum())


@pytest.mark.parametrize(
    ("keys", "kind", "weights"),
    [
        ({}, "cross_entropy", None),
        ({"label_smoothing": 0.2}, "cross_entropy", None),
        ({"class_weights": "balanced"}, "cross_entropy", BALANCED),
        ({"class_weights": [1, 2, 0], "label_smoothing": 0.1}, "cross_entropy", [1, 2, 0]),
        ({"class_weights": "balanced", "loss": "bce"}, "bce", BALANCED),
        ({"class_weights": "balanced", "loss": "focal"}, "focal", BALANCED),
        ({"clip_grad_norm": 0.05}, "cross_entropy", None),
        ({"optimizer": {"type": "sgd", "lr": LR, "momentum": 0}}, "cross_entropy", None),
    ],
)
def test_one_step(root: Path, tmp_path: Path, keys: Any, kind: str, weights: Any) -> None:
    start, _ = run(root, tmp_path / "start", epochs=0)
    end, (row,) = run(root, tmp_path / "end", **keys)
    x, labels = inputs(root)

    def loss_of(w: Array) -> float:
        return mean_loss(kind, x @ w.T, labels, keys.get("label_smoothing", 0), weights)

    slope = np.zeros_like(start)
    for place in np.ndindex(*start.shape):
        move = np.zeros_like(start)
        move[place] = 1e-5
        slope[place] = (loss_of(start + move) - loss_of(start - move)) / 2e-5
    if "clip_grad_norm" in keys:
        slope *= keys["clip_grad_norm"] / np.linalg.norm(slope)
    if "optimizer" in keys:
        slope += 5e-4 * start  # the default weight decay
    np.testing.assert_allclose(end, start - LR * slope, rtol=0, atol=1e-7)
    assert float(row["train_loss"]) == pytest.approx(loss_of(start), rel=1e-5)
    right = (x @ start.T).argmax(axis=1) == labels
    assert float(row["train_top1"]) == pytest.approx(right.mean(), abs=1e-6)


def test_each_step_has_its_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers, averages and rates depend on it."""
    steps: list[dict[str, Any]] = []
    averages: list[tuple[int, int]] = []
    train_step, update = TrainingEngine.train_step, Lookahead.update

    def watched_step(engine: TrainingEngine, *args: Any, **keys: Any) -> tuple[float, Array]:
        steps.append(keys)
        return train_step(engine, *args, **keys)

    def watched_update(average: Lookahead, trained: Parameters, step: int, every: int) -> None:
        averages.append((step, every))
        update(average, trained, step, every)

    monkeypatch.setattr(TrainingEngine, "train_step", watched_step)
    monkeypatch.setattr(Lookahead, "update", watched_update)
    schedule = {"type": "linear", "warmup_epochs": 0}
    keys = {"epochs": 2, "batch_size": 6, "lookahead": {"every": 2}, "scheduler": schedule}
    _, rows = run(root, tmp_path / "run", {"mixup": 1.0}, **keys)
    assert [each["step"] for each in steps] == [0, 1, 2, 3]
    mixer = Mixer(AugmentConfig.model_validate({"mixup": 1.0}), 0, (4, 4))
    for each, place in zip(steps, [(0, 0, 6), (0, 6, 5), (1, 0, 6), (1, 6, 5)], strict=True):
        np.testing.assert_array_equal(each["mix"].ratios, mixer.mix(*place).ratios)
    assert averages == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [float(row["lr"]) for row in rows] == pytest.approx([LR * 3 / 4, LR / 4])
