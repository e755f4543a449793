"""Training with several labels per image: learning, saving, resuming and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from short_training import Watch, rows_without_times, weights
from tagged import CLASSES, make_tagged, tagged_document

from cnn_cli.config import validate_config
from cnn_cli.errors import CnnError, ConfigError, UsageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.metric_names import Metric
from cnn_cli.report.pictures.preview_sheet import draw_preview
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.results import TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.preview import preview
from cnn_cli.training.requests import Requests
from cnn_cli.training.setup import prepare
from cnn_cli.training.train import train

ALL: dict[str, Any] = {
    "loss": {"type": "focal", "alpha": 0.4},
    "label_smoothing": 0.1,
    "class_weights": "balanced",
}
MIXES = {"mixup": 0.4, "cutmix": 1.0, "hflip": 0.5}


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tagged(tmp_path_factory.mktemp("tagged"))


def run(
    tags: Path,
    out: Path,
    watch: Watch | None = None,
    requests: Requests | None = None,
    resume: bool = False,
    augment: dict[str, Any] | None = None,
    **keys: Any,
) -> TrainResult:
    document = tagged_document(tags, **keys) | {"augment": augment or {}}
    options = TrainOptions(out=out, resume=resume, threads=2, backend="numpy")
    config = validate_config(document, "test.yaml")
    return train(config, "test.yaml", options, requests or Requests(), watch or Watch())


def test_learns_and_keeps_thresholds(tags: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = run(tags, tmp_path / "run", watch, epochs=6)
    mean_precision = Metric("average_precision")
    values = [row.value(mean_precision) for row in watch.rows]
    assert max(value or 0 for value in values) > 0.95
    assert watch.rows[-1].value(Metric("subset_accuracy")) is not None
    best = load_checkpoint(tmp_path / "run/best.npz").meta
    assert best["epoch"] == result.best_epoch
    assert best["config"]["train"]["monitor"] == "average_precision"
    assert best["config"]["train"]["loss"]["type"] == "bce"
    kept = best["several_labels"]
    assert kept["separator"] == "|"
    assert len(kept["thresholds"]) == 3
    assert kept["thresholds"] != [0.5] * 3
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.classes == CLASSES
    assert classifier.several is not None
    assert list(classifier.several.thresholds) == kept["thresholds"]


def test_columns_of_0_and_1_train_the_same_network(tags: Path, tmp_path: Path) -> None:
    marks = make_tagged(tmp_path / "marks", marks=True)
    run(tags, tmp_path / "a")
    run(marks, tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize(
    ("keys", "augment"), [({}, {}), (ALL, MIXES), ({"ema": 0.9, "dtype": "float64"}, MIXES)]
)
def test_stopped_and_resumed_gives_the_same_bits(
    tags: Path, tmp_path: Path, keys: dict[str, Any], augment: dict[str, Any]
) -> None:
    run(tags, tmp_path / "whole", augment=augment, **keys)
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 2):
            requests.ask_stop("terminated")

    watch = Watch(stop)
    assert run(tags, tmp_path / "cut", watch, requests, augment=augment, **keys).stopped
    middle = load_checkpoint(tmp_path / "cut/last.npz").meta["several_labels"]["thresholds"]
    assert middle != [0.5] * 3
    run(tags, tmp_path / "cut", resume=True, augment=augment, **keys)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert rows_without_times(tmp_path / "cut") == rows_without_times(tmp_path / "whole")
    for name in ("last.npz", "best.npz"):
        metas = [load_checkpoint(tmp_path / each / name).meta for each in ("cut", "whole")]
        assert metas[0]["several_labels"] == metas[1]["several_labels"]


def test_frozen_layers_know_their_labels(tags: Path, tmp_path: Path) -> None:
    watch = Watch()
    run(tags, tmp_path / "run", watch, freeze=1, precise_bn=False)
    assert "frozen up to stem: computed once for 60 images" in watch.notes
    assert watch.rows[-1].train_loss < watch.rows[0].train_loss


def test_no_epochs_and_no_validation_have_thresholds_of_one_half(tmp_path: Path) -> None:
    tags = make_tagged(tmp_path / "all", val=0)
    document = tagged_document(tags, epochs=1)
    document["data"]["val_split"] = 0
    config = validate_config(document, "test.yaml")
    options = TrainOptions(out=tmp_path / "run", threads=1)
    train(config, "test.yaml", options, Requests(), Watch())
    assert (
        load_checkpoint(tmp_path / "run/best.npz").meta["several_labels"]["thresholds"] == [0.5] * 3
    )
    run(tags, tmp_path / "none", epochs=0)
    meta = load_checkpoint(tmp_path / "none/last.npz").meta
    assert meta["several_labels"] == {"separator": "|", "thresholds": [0.5] * 3}


def test_balanced_weights_are_others_for_each_of_a_class(tags: Path) -> None:
    config = validate_config(tagged_document(tags, class_weights="balanced"), "test.yaml")
    setup = prepare(config, "test.yaml", TrainOptions(), {})
    counts = setup.dataset.train.labels.sum(axis=0)
    assert setup.class_weights is not None
    np.testing.assert_allclose(setup.class_weights, (60 - counts) / counts)


SECTION = "test.yaml: train.loss must be bce or focal where data.labels is multiple."


@pytest.mark.parametrize(
    ("data", "keys", "expected"),
    [
        ({}, {"loss": "cross_entropy"}, f"{SECTION} Got 'cross_entropy'."),
        (
            {"labels": "single"},
            {"loss": {"type": "focal", "alpha": 0.25}},
            "test.yaml: train.loss.alpha is for data.labels multiple; train.class_weights weighs "
            "classes.",
        ),
        (
            {"sampler": "balanced"},
            {},
            "test.yaml: data: sampler must be shuffle if images have several labels.",
        ),
        (
            {"classes": ["none", "left"]},
            {},
            "test.yaml: data: classes must not be named none, which means no label.",
        ),
        (
            {},
            {"monitor": "kappa"},
            "test.yaml: train.monitor: kappa is not defined where data.labels is multiple.",
        ),
        (
            {"labels": "single"},
            {"monitor": "micro_f1"},
            "test.yaml: train.monitor: micro_f1 is for data.labels multiple; of one label it is "
            "top1.",
        ),
        (
            {},
            {"scheduler": {"type": "plateau", "monitor": "ece"}},
            "test.yaml: train.scheduler.monitor: ece is not defined where data.labels is multiple.",
        ),
        ({"labels": "many"}, {}, "test.yaml: data.labels: must be single or multiple. Got 'many'."),
        (
            {"label_sep": ""},
            {},
            "test.yaml: data.label_sep: must be a separator, such as '|'. Got ''.",
        ),
    ],
)
def test_what_does_not_fit(
    tags: Path, data: dict[str, Any], keys: dict[str, Any], expected: str
) -> None:
    document = tagged_document(tags, **keys)
    document["data"] |= data
    with pytest.raises(ConfigError) as error:
        validate_config(document, "test.yaml")
    assert error.value.line() == expected


def test_defaults_where_images_have_several_labels(tags: Path) -> None:
    plain = validate_config(tagged_document(tags), "a").train
    assert (plain.loss.type, plain.monitor) == ("bce", "average_precision")
    given = validate_config(tagged_document(tags, loss="focal", monitor="loss"), "a").train
    assert (given.loss.type, given.monitor) == ("focal", "loss")
    other = validate_config({"model": {"layers": ["relu"]}}, "a").train
    assert (other.loss.type, other.monitor) == ("cross_entropy", "top1")


def line_of(error: pytest.ExceptionInfo[CnnError]) -> str:
    return error.value.line()


def names_of(path: str) -> list[str]:
    """Return the labels that `make_tagged` gives an image."""
    return [name for bit, name in enumerate(CLASSES) if (int(Path(path).stem) + 1) >> bit & 1]


def test_a_preview_has_all_labels(tags: Path) -> None:
    document = tagged_document(tags)
    found = preview(validate_config(document, "test.yaml"), "test.yaml", 0, 60, 1)
    assert len(found.samples) == 60
    for sample in found.samples:
        assert sample.labels == tuple((name, 1.0) for name in names_of(sample.path))
    mixed = validate_config(document | {"augment": {"mixup": 1.0}}, "test.yaml")
    others = 0
    for sample in preview(mixed, "test.yaml", 0, 60, 1).samples:
        assert all(0 < fraction <= 1 for _, fraction in sample.labels)
        others += any(name not in names_of(sample.path) for name, _ in sample.labels)
    assert others > 20
    assert draw_preview(found, 6, "title", "subtitle").image.width > 100


def test_a_gate_of_one_label(tags: Path) -> None:
    config = validate_config(tagged_document(tags), "test.yaml")
    with pytest.raises(UsageError) as error:
        prepare(config, "test.yaml", TrainOptions(gates=(Metric("mcc"),)), {})
    assert line_of(error) == "--fail-under: mcc is not defined where data.labels is multiple."
