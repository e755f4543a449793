"""`train.head`: the last layer alone in the first epochs, then the rest."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_features
from learnable import make_pictures
from short_training import Watch
from test_features import arrays, run

from cnn_cli.config import validate_config
from cnn_cli.errors import ConfigError, DivergedError
from cnn_cli.nn.graph import IMAGE
from cnn_cli.optim.schedule import CosineConfig, learning_rate
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training import diagnose, epoch_network
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
from cnn_cli.training.requests import Requests

HEAD = {"epochs": 2, "lr": 0.05}
OTHERS = ["stem.*", "upper.*", "batchnorm.*"]
NOTE = "frozen up to layers.6: computed once for 60 images"
RANDOM = {"random_resized_crop": {}, "hflip": 0.5, "mixup": {"alpha": 0.2}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def lasting(folder: Path) -> dict[str, Any]:
    """Return a run's arrays, of the optimizer too."""
    groups = load_checkpoint(folder / "last.npz").groups
    return {f"{group}/{name}": array for group in groups for name, array in groups[group].items()}


def assert_equal(folder: Path, other: Path) -> None:
    found, expected = lasting(folder), lasting(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=f"{folder.name}: {name}")


def run_in_parts(pictures: Path, out: Path, stop: tuple[int, int], **keys: Any) -> None:
    """Train as `run` does, stopped after an epoch's step and resumed."""
    requests = Requests()

    def ask(*done: int) -> None:
        if done == stop:
            requests.ask_stop("terminated")

    run(pictures, out, watch=Watch(ask), requests=requests, **keys)
    run(pictures, out, resume=True, **keys)


def test_the_head_trains_as_if_all_else_were_frozen(pictures: Path, tmp_path: Path) -> None:
    watch = run(pictures, tmp_path / "head", head=HEAD, epochs=2)
    assert watch.notes == [NOTE]
    how: dict[str, Any] = {"scheduler": {"type": "cosine", "warmup_epochs": 0}}
    run(pictures, tmp_path / "frozen", freeze=OTHERS, epochs=2, optimizer={"lr": 0.05}, **how)
    found, expected = arrays(tmp_path / "head"), arrays(tmp_path / "frozen")
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_then_the_rest_is_trained(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "start", epochs=0)
    run(pictures, tmp_path / "head", head=HEAD, epochs=2)
    watch = run(pictures, tmp_path / "all", head=HEAD, epochs=3, freeze=["stem.*"])
    assert watch.notes == [NOTE, "frozen up to stem: computed once for 60 images"]
    start, head, whole = (arrays(tmp_path / name) for name in ("start", "head", "all"))
    changed = {name for name in start if not np.array_equal(start[name], head[name])}
    assert changed == {"layers.8/weight", "layers.8/bias"}
    kept = {name for name in start if np.array_equal(head[name], whole[name])}
    assert kept == {"stem/weight", "stem/bias"}


def changed_by(pictures: Path, folder: Path, **keys: Any) -> set[str]:
    """Return the names of the arrays that an epoch of the head changes."""
    run(pictures, folder / "start", epochs=0)
    run(pictures, folder / "head", head={"epochs": 1}, epochs=1, **keys)
    start, head = arrays(folder / "start"), arrays(folder / "head")
    return {name for name in start if not np.array_equal(start[name], head[name])}


def test_a_layer_named_as_a_kind(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not stand for all layers of this kind, of which the head is one."""
    layers: list[Any] = [*test_features.LAYERS]
    layers[4] = {"conv": {"out_channels": 6, "kernel_size": 3, "name": "linear"}}
    monkeypatch.setattr(test_features, "LAYERS", layers)
    assert changed_by(pictures, tmp_path) == {"layers.8/weight", "layers.8/bias"}


@pytest.mark.parametrize("freeze", [["linear.bias"], {"linear.bias": 0, "linear.weight": 1}])
def test_what_is_frozen_of_the_head(pictures: Path, tmp_path: Path, freeze: Any) -> None:
    assert changed_by(pictures, tmp_path, freeze=freeze) == {"layers.8/weight"}


@pytest.mark.parametrize("freeze", [["linear.*"], {"linear.*": 1}])
def test_a_head_that_is_frozen(pictures: Path, tmp_path: Path, freeze: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        run(pictures, tmp_path / "run", head=HEAD, freeze=freeze)
    rule = "has nothing to train in its epochs, since train.freeze names the last layer"
    assert caught.value.line() == f"x.yaml: train.head: {rule}."


def test_the_schedule_begins_after_the_head(pictures: Path, tmp_path: Path) -> None:
    schedule = {"type": "cosine", "warmup_epochs": 0}
    run(pictures, tmp_path / "run", head=HEAD, epochs=5, scheduler=schedule)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    steps = 4  # per epoch
    cosine = CosineConfig(warmup_epochs=0)
    expected = [learning_rate(cosine, 0.05, steps * k - 1, steps, 2) for k in (1, 2)]
    expected += [learning_rate(cosine, 0.1, steps * k - 1, steps, 3) for k in (1, 2, 3)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("augment", [{}, RANDOM])
def test_a_resumed_run_gives_the_same_bits(
    pictures: Path, tmp_path: Path, augment: Any, epoch: int
) -> None:
    keys: dict[str, Any] = {"head": HEAD, "epochs": 4, "augment": augment, "freeze": ["stem.*"]}
    watch = run(pictures, tmp_path / "whole", **keys)
    assert NOTE in watch.notes
    run_in_parts(pictures, tmp_path / "parts", (epoch, 2), **keys)
    assert_equal(tmp_path / "parts", tmp_path / "whole")


AROUND_THE_END = [(2, 2), (2, 4), (3, 1), (3, 4)]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_each_parameter_counts_its_own_steps(pictures: Path, tmp_path: Path, kind: str) -> None:
    """So Adam's correction of the bias begins when a parameter is released, as in PyTorch."""
    optimizer = {"type": "muon", "other": "adamw"} if kind == "muon" else kind
    keys: dict[str, Any] = {"head": HEAD, "epochs": 4, "optimizer": optimizer, "freeze": ["stem.*"]}
    run(pictures, tmp_path / "whole", **keys)
    steps = lasting(tmp_path / "whole")["optimizer/step"]
    assert steps.tolist() == [0] * 2 + [8] * 6 + [16] * 2  # stem, the others, last layer
    for stop in AROUND_THE_END:
        run_in_parts(pictures, tmp_path / str(stop), stop, **keys)
        assert_equal(tmp_path / str(stop), tmp_path / "whole")


@pytest.mark.parametrize(
    "how",
    [
        {"augment": {"hflip": 0.5}},
        {"augment": {"mixup": {"alpha": 0.2}}},
        {"augment": {"cutmix": {}}},
        {"augment": RANDOM},
        {"progressive_resizing": {"initial_scale": 0.75}},
        {},
    ],
)
def test_the_epochs_after_it_have_images_of_their_own(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    """With the same layers frozen, training goes as without features, and to the same bits if it
    is stopped around the end of the head's epochs.
    """
    keys: dict[str, Any] = {"head": HEAD, "epochs": 4, "freeze": OTHERS, "dtype": "float64"} | how
    assert run(pictures, tmp_path / "whole", **keys).notes == [NOTE]
    for stop in AROUND_THE_END:
        run_in_parts(pictures, tmp_path / str(stop), stop, **keys)
        assert_equal(tmp_path / str(stop), tmp_path / "whole")
    monkeypatch.setattr(epoch_network, "cached_node", lambda *_: IMAGE)
    assert run(pictures, tmp_path / "images", **keys).notes == []
    images = lasting(tmp_path / "images")
    for name, array in lasting(tmp_path / "whole").items():
        np.testing.assert_allclose(images[name], array, rtol=0, atol=1e-10, err_msg=name)


def test_images_are_plain_while_the_head_trains(pictures: Path, tmp_path: Path) -> None:
    """Crops, flips and mixing begin after it."""
    run(pictures, tmp_path / "plain", head=HEAD, epochs=2)
    run(pictures, tmp_path / "random", head=HEAD, epochs=2, augment=RANDOM)
    for name, array in arrays(tmp_path / "plain").items():
        np.testing.assert_array_equal(arrays(tmp_path / "random")[name], array, err_msg=name)


def test_a_failure_is_explained_with_plain_images(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(diagnose, "find_origin", lambda *given, **_: seen.append(given[3].copy()))
    for name, augment in [("plain", {}), ("random", {"hflip": 1.0})]:
        with pytest.raises(DivergedError):
            run(pictures, tmp_path / name, head={"epochs": 1, "lr": 1e30}, augment=augment)
    np.testing.assert_array_equal(*seen)


def test_bad_images_are_counted_once(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "pictures")
    bad = root / "train" / "dark" / "3.png"
    bad.write_bytes(b"x")
    run(root, tmp_path / "run", head=HEAD, augment=RANDOM)
    assert (tmp_path / "run" / "bad_files.txt").read_text().count("\n") == 1


def test_without_a_layer_of_the_classes_there_is_no_head(pictures: Path, tmp_path: Path) -> None:
    document = {
        "data": {"root": str(pictures), "image_size": 8, "channels": 1},
        "model": {"layers": ["flatten", {"linear": 3}]},
        "train": {"head": {}},
    }
    with pytest.raises(ConfigError) as caught:
        plan_training(validate_config(document, "x"), "x.yaml", TrainOptions(tmp_path / "run"))
    rule = "needs a layer with one output per class, such as `linear: classes`"
    assert caught.value.line() == f"x.yaml: train.head: {rule}."
