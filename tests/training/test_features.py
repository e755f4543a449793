"""Cached features of frozen layers: the same training, and the same bits after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import make_pictures
from short_training import Watch

from cnn_cli.config import validate_config
from cnn_cli.nn.graph import IMAGE
from cnn_cli.nn.training_engine import Halves, TrainingEngine
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.structs import replace
from cnn_cli.training import epoch_network, features
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

LAYERS: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "padding": "same", "name": "stem"}},
    "batchnorm",
    "relu",
    {"maxpool": 2},
    {"conv": {"out_channels": 6, "kernel_size": 3, "name": "upper"}},
    "batchnorm",
    "relu",
    {"dropout": 0.2},
    {"linear": "classes"},
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(
    root: Path,
    out: Path,
    *,
    watch: Watch | None = None,
    requests: Requests | None = None,
    resume: bool = False,
    weights: Path | None = None,
    augment: Any = None,
    **keys: Any,
) -> Watch:
    document: dict[str, Any] = {
        "data": {"root": str(root), "image_size": 8, "channels": 1},
        "augment": augment or {},
        "model": {"layers": LAYERS},
        "train": {"epochs": 3, "batch_size": 16, "precise_bn": False} | keys,
    }
    if weights is not None:
        document["train"]["weights"] = str(weights)
    watch = watch or Watch()
    options = TrainOptions(out, resume=resume, threads=2, backend="numpy")
    train(validate_config(document, "x"), "x.yaml", options, requests or Requests(), watch)
    return watch


STEM = ["stem.*", "layers.1.*"]
NOTE = "frozen up to layers.3: computed once for 60 images"


def arrays(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "last.npz").groups["model"]


def test_features_train_as_images_do(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = run(pictures, tmp_path / "features", freeze=STEM, dtype="float64")
    assert watch.notes == [NOTE]
    monkeypatch.setattr(epoch_network, "cached_node", lambda *_: IMAGE)
    watch = run(pictures, tmp_path / "images", freeze=STEM, dtype="float64")
    assert watch.notes == []
    found, expected = arrays(tmp_path / "features"), arrays(tmp_path / "images")
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    "freeze",
    [STEM, 2, {"stem.*": 1, "layers.1.*": 1}, {"stem.*": 1, "layers.1.*": 1, "upper.*": 2}],
)
def test_a_resumed_run_gives_the_same_bits(pictures: Path, tmp_path: Path, freeze: Any) -> None:
    run(pictures, tmp_path / "whole", freeze=freeze)
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 2):
            requests.ask_stop("terminated")

    run(pictures, tmp_path / "parts", watch=Watch(stop), requests=requests, freeze=freeze)
    run(pictures, tmp_path / "parts", resume=True, freeze=freeze)
    found, expected = arrays(tmp_path / "parts"), arrays(tmp_path / "whole")
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_count_of_layers_is_as_their_names(pictures: Path, tmp_path: Path) -> None:
    first = run(pictures, tmp_path / "first", epochs=1)
    assert first.notes == []
    start = arrays(tmp_path / "first")
    for freeze in (STEM, 2):
        out = tmp_path / str(freeze)
        watch = run(pictures, out, weights=tmp_path / "first", freeze=freeze)
        assert watch.notes == [NOTE]
    by_name, by_count = arrays(tmp_path / str(STEM)), arrays(tmp_path / "2")
    kept = {name for name, array in start.items() if np.array_equal(array, by_count[name])}
    assert kept == {name for name in start if name.startswith(("stem/", "layers.1/"))}
    for name, array in by_name.items():
        np.testing.assert_array_equal(by_count[name], array, err_msg=name)


@pytest.mark.parametrize(
    "how",
    [
        {"augment": {"hflip": 0.5}},
        {"augment": {"mixup": {"alpha": 0.2}}},
        {"precise_bn": True},
        {"freeze": ["upper.*"]},
    ],
)
def test_where_images_or_layers_change_nothing_is_kept(
    pictures: Path, tmp_path: Path, how: Any
) -> None:
    watch = run(pictures, tmp_path / "run", **({"freeze": STEM, "epochs": 1} | how))
    assert watch.notes == []


def test_bad_images_are_left_out_and_named(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "pictures")
    bad = root / "train" / "dark" / "3.png"
    bad.write_bytes(b"x")
    run(root, tmp_path / "run", freeze=STEM, epochs=1)
    assert (tmp_path / "run" / "bad_files.txt").read_text().startswith(str(bad))


def test_numbers_that_are_not_finite_name_layer_and_images(pictures: Path, tmp_path: Path) -> None:
    from cnn_cli.errors import DivergedError

    with pytest.raises(DivergedError, match="epoch 1, step"):
        run(
            pictures,
            tmp_path / "run",
            freeze=STEM,
            optimizer={"type": "sgd", "lr": 1e30},
            scheduler="constant",
        )


def rows(watch: Watch) -> list[dict[str, Any]]:
    """Return an epoch's row of metrics each, without times."""
    found = [row.as_dict() for row in watch.rows]
    return [
        {key: value for key, value in row.items() if "second" not in key and key != "time"}
        for row in found
    ]


@pytest.mark.parametrize(
    "how",
    [
        {"freeze": STEM},
        {"freeze": ["stem.*", "layers.1.*", "upper.*", "layers.5.*"]},
        {"freeze": STEM, "augment": {"hflip": 0.5}},
        {"freeze": {"stem.*": 1, "layers.1.*": 1, "upper.*": 2}},
        {"head": {"epochs": 2, "lr": 0.05}},
        {"freeze": STEM, "monitor": "auc"},
    ],
)
def test_validation_runs_frozen_layers_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """The metrics are the same bits as without features."""
    images = 0
    cut = TrainingEngine.halves

    def counted(engine: TrainingEngine) -> Halves | None:
        halves = cut(engine)
        if halves is None:
            return None
        compute = halves.lower

        def lower(x: Array) -> Array:
            nonlocal images
            images += len(x)
            return compute(x)

        return replace(halves, lower=lower)

    keys = {"epochs": 4} | how
    monkeypatch.setattr(TrainingEngine, "halves", counted)
    kept = run(pictures, tmp_path / "kept", **keys)
    monkeypatch.setattr(features.ValidationFeatures, "open", lambda *_: None)
    plain = run(pictures, tmp_path / "plain", **keys)
    assert rows(kept) == rows(plain)
    changes = 2 if isinstance(how.get("freeze"), dict) else 1
    assert images == 24 * changes
    best = [load_checkpoint(tmp_path / name / "best.npz").groups for name in ("kept", "plain")]
    for group, named in best[1].items():
        for name, array in named.items():
            np.testing.assert_array_equal(best[0][group][name], array, err_msg=name)


def test_without_room_validation_takes_images(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_network, "MEMORY_FRACTION", 0)
    monkeypatch.setattr(TrainingEngine, "predict", _refuse)
    with pytest.raises(AssertionError):
        run(pictures, tmp_path / "run", freeze=STEM, epochs=1)
    monkeypatch.undo()
    monkeypatch.setattr(TrainingEngine, "predict", _refuse)
    run(pictures, tmp_path / "other", freeze=STEM, epochs=1)


def _refuse(*_: object) -> None:
    raise AssertionError
