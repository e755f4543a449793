"""`augment.tta` while training: validation averages the views, and the weights stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures
from tagged import make_tagged, tagged_document

from cnn_cli.config import validate_config
from cnn_cli.data.views import TTA
from cnn_cli.errors import ConfigError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate_files import EvaluationOptions, evaluate_files, own_dataset
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


class Watch(Silent):
    """Keeps the rows of metrics, and stops in the middle of an epoch if asked to."""

    def __init__(self, requests: Requests | None = None) -> None:
        self.rows: list[EpochRow] = []
        self._requests = requests

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        if self._requests is not None and (epoch, step) == (2, 2):
            self._requests.ask_stop("terminated")

    def epoch(self, row: EpochRow, best: bool) -> None:
        self.rows.append(row)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(
    document: dict[str, Any],
    out: Path,
    tta: str | None,
    watch: Watch | None = None,
    requests: Requests | None = None,
    *,
    resume: bool = False,
) -> TrainResult:
    config = validate_config(document | {"augment": {"hflip": 0.5, "tta": tta}}, "x.yaml")
    options = TrainOptions(out=out, resume=resume, threads=2, backend="numpy")
    return train(config, "x.yaml", options, requests or Requests(), watch or Watch())


def contents(file: Path) -> dict[str, np.ndarray]:
    groups = load_checkpoint(file).groups
    return {
        f"{group}/{name}": array
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }


def assert_same(file: Path, other: Path) -> None:
    own, others = contents(file), contents(other)
    assert list(own) == list(others)
    for name, array in own.items():
        np.testing.assert_array_equal(array, others[name], strict=True)


@pytest.mark.parametrize("kind", TTA)
def test_validation_is_of_what_the_checkpoint_will_predict(
    pictures: Path, tmp_path: Path, kind: str
) -> None:
    """With a cache in memory, of the larger images that crops are taken from."""
    document = config_document(pictures, epochs=2, keep="last")
    document["data"]["cache"] = "ram"
    watch, plain = Watch(), Watch()
    run(document, tmp_path / kind, kind, watch)
    run(document, tmp_path / "plain", None, plain)
    classifier = Classifier.load(tmp_path / kind)
    assert classifier.tta == kind
    images = own_dataset(classifier).val
    assert images is not None
    evaluation, _ = evaluate_files(classifier, images, EvaluationOptions(threads=1))
    assert evaluation.loss == pytest.approx(watch.rows[-1].val_loss, rel=1e-5)
    assert watch.rows[-1].val_loss != plain.rows[-1].val_loss
    assert [row.train_loss for row in watch.rows] == [row.train_loss for row in plain.rows]
    assert_same(tmp_path / kind / "last.npz", tmp_path / "plain/last.npz")


def test_frozen_layers_see_every_view(pictures: Path, tmp_path: Path) -> None:
    """With one view, their output for validation images would be kept for all epochs."""
    document = config_document(pictures, epochs=2, keep="last", freeze=1, precise_bn=False)
    watch = Watch()
    run(document, tmp_path / "run", "multicrop", watch)
    classifier = Classifier.load(tmp_path / "run")
    images = own_dataset(classifier).val
    assert images is not None
    evaluation, _ = evaluate_files(classifier, images, EvaluationOptions(threads=1))
    assert evaluation.loss == pytest.approx(watch.rows[-1].val_loss, rel=1e-5)


def test_validation_with_several_labels(tmp_path: Path) -> None:
    document = tagged_document(make_tagged(tmp_path), epochs=1)
    watch = Watch()
    run(document, tmp_path / "run", "multicrop", watch)
    classifier = Classifier.load(tmp_path / "run")
    images = own_dataset(classifier).val
    assert images is not None
    evaluation, _ = evaluate_files(classifier, images, EvaluationOptions(threads=1))
    assert evaluation.loss == pytest.approx(watch.rows[-1].val_loss, rel=1e-5)


def test_stopped_and_resumed_gives_the_same_bits(pictures: Path, tmp_path: Path) -> None:
    document = config_document(pictures, epochs=3, ema=0.9)
    whole, first, rest = Watch(), Watch(requests := Requests()), Watch()
    run(document, tmp_path / "whole", "multicrop", whole)
    assert run(document, tmp_path / "parts", "multicrop", first, requests).stopped
    run(document, tmp_path / "parts", "multicrop", rest, resume=True)
    for file in ("last.npz", "best.npz"):
        assert_same(tmp_path / "parts" / file, tmp_path / "whole" / file)
    losses = [row.val_loss for row in (*first.rows, *rest.rows)]
    assert losses == [row.val_loss for row in whole.rows]


def test_a_run_keeps_its_views(pictures: Path, tmp_path: Path) -> None:
    """Otherwise the best of its epochs would be chosen by two measures."""
    document = config_document(pictures, epochs=1)
    run(document, tmp_path / "run", "hflip")
    document["train"]["epochs"] = 2
    with pytest.raises(ConfigError) as caught:
        run(document, tmp_path / "run", "multicrop", resume=True)
    assert "augment.tta" in caught.value.line()


def test_no_epochs_give_a_trained_checkpoint_other_views(pictures: Path, tmp_path: Path) -> None:
    """As the page about evaluation says."""
    run(config_document(pictures, epochs=1), tmp_path / "plain", None)
    document = config_document(pictures, epochs=0, weights=str(tmp_path / "plain"))
    run(document, tmp_path / "views", "hflip")
    plain, views = (Classifier.load(tmp_path / name) for name in ("plain", "views"))
    assert (plain.tta, views.tta) == (None, "hflip")
    assert plain.normalization == views.normalization
    np.testing.assert_array_equal(plain.params.flat, views.params.flat)
    np.testing.assert_array_equal(plain.params.flat_buffers, views.params.flat_buffers)
