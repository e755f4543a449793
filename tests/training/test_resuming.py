"""Trainings that are stopped and resumed: the same bits, or a refusal."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from learnable import make_pictures
from short_training import Watch, rows_without_times, run, weights

from cnn_cli.errors import ConfigError, DataError
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.requests import Requests


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("stop_at", [(1, 1), (1, 4), (2, 2), (3, 3), (3, 4)])
def test_stopped_and_resumed_gives_the_same_bits(
    pictures: Path, tmp_path: Path, stop_at: tuple[int, int]
) -> None:
    run(pictures, tmp_path / "whole")
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == stop_at:
            requests.ask_stop("terminated")

    result = run(pictures, tmp_path / "parts", Watch(stop), requests)
    assert result.stopped == "terminated"
    result = run(pictures, tmp_path / "parts", options={"resume": True, "threads": None})
    assert result.stopped is None
    assert result.epochs == 3
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows_without_times(tmp_path / "whole") == rows_without_times(tmp_path / "parts")


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": {"type": "adamw", "lr": 0.01}, "precise_bn": True},
        {"batch_size": 7, "clip_grad_norm": 0.5, "label_smoothing": 0.1},
        {"class_weights": "balanced", "dtype": "float64", "scheduler": "constant"},
        {"loss": "focal", "class_weights": "balanced"},
        {"loss": "bce", "class_weights": "balanced", "label_smoothing": 0.1},
        {"ema": 0.9, "precise_bn": True},
        {"accumulate": 3, "batch_size": 8, "ema": 0.9, "clip_grad_norm": 0.5},
        {"optimizer": {"type": "muon", "other": "adamw"}},
        {"lookahead": {"every": 3, "power": 3}},
        {
            "optimizer": {"type": "sgd", "lr": 0.05, "norm_weight_decay": 0.0},
            "lr_factors": {"batchnorm.bias": 8.0},
            "layer_decay": 0.5,
            "weight_decay_factors": {"linear.*": 2.0},
            "freeze": {"stem.bias": 1, "stem.weight": 2, "layers.1.*": 1},
            "scheduler": {"type": "plateau", "patience": 0, "threshold": 0.5},
        },
    ],
)
def test_resume_gives_the_same_bits_with_every_technique(
    pictures: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    run(pictures, tmp_path / "whole", **keys)
    requests = Requests()
    batch = 4 if "accumulate" in keys else 2  # the first of an update, or in the middle of one

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, batch):
            requests.ask_stop("time limit")

    run(pictures, tmp_path / "parts", Watch(stop), requests, **keys)
    run(pictures, tmp_path / "parts", options={"resume": True}, **keys)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_a_finished_run_goes_further_with_more_epochs(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run")
    watch = Watch()
    resume = {"resume": True}
    assert run(pictures, tmp_path / "run", watch, options=resume).epochs == 3
    assert watch.steps == []
    result = run(pictures, tmp_path / "run", watch, options=resume, epochs=5)
    assert result.epochs == 5
    assert watch.steps[0] == (4, 1)
    assert [row["epoch"] for row in rows_without_times(tmp_path / "run")] == list("12345")


def test_resume_refuses_another_config(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, batch_size=8, seed=1)
    assert str(caught.value) == (
        "test.yaml: a resumed run keeps its config; only train.epochs and limits may change. "
        "Got another train.batch_size, train.seed."
    )


def test_resume_says_that_the_data_changed(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    (pictures / "train" / "dark" / "0.png").unlink()
    watch = Watch()
    run(pictures, tmp_path / "run", watch, options={"resume": True}, epochs=2)
    assert watch.notes == [
        "the data changed since the run began: 18 training and 6 validation images then, "
        "17 and 6 now"
    ]


def test_resume_refuses_other_classes(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    for part in ("train", "val"):
        (pictures / part / "bright").rename(pictures / part / "zebra")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, epochs=2)
    assert str(caught.value) == (
        f"{pictures}: a resumed run keeps its classes, bright, dark, striped. "
        "Got dark, striped, zebra."
    )


def test_resume_refuses_a_class_more(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    shutil.copytree(pictures / "train/dark", pictures / "train/zebra")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, epochs=2)
    assert str(caught.value) == (
        f"{pictures}: a resumed run keeps its classes, bright, dark, striped. "
        "Got bright, dark, striped, zebra."
    )


def test_resume_finds_pictures_that_were_moved(tmp_path: Path) -> None:
    """With the same bits; refused if images differ, were renamed, or are missing."""
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "whole", epochs=2)
    requests = Requests()
    watch = Watch(lambda epoch, step: requests.ask_stop("time limit"))
    run(pictures, tmp_path / "run", watch, requests, epochs=2)
    moved = pictures.rename(tmp_path / "moved")
    resume = {"resume": True}
    first = moved / "train/bright/0.png"
    content = first.read_bytes()
    rule = f"{moved}: a resumed run must find the same images. Got "

    def refused() -> str:
        with pytest.raises(DataError) as caught:
            run(moved, tmp_path / "run", options=resume, epochs=2)
        return str(caught.value).removeprefix(rule)

    first.write_bytes((moved / "train/dark/0.png").read_bytes())
    assert refused() == "files with the same names but different content."
    first.unlink()
    assert refused() == "17 and 6 to train and validate on, not 18 and 6."
    (moved / "train/bright/other.png").write_bytes(content)
    assert refused() == "other names."
    (moved / "train/bright/other.png").rename(first)
    assert run(moved, tmp_path / "run", options=resume, epochs=2).epochs == 2
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["data"]["root"] == str(moved)


def test_names_may_change_their_unicode_form_as_pictures_move(tmp_path: Path) -> None:
    """From Linux to macOS, where names of folders and files have another form."""
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    for part in ("train", "val"):
        (pictures / part / "dark").rename(pictures / part / "d\u00e9")
    run(pictures, tmp_path / "run", epochs=1)
    moved = pictures.rename(tmp_path / "moved")
    for part in ("train", "val"):
        (moved / part / "d\u00e9").rename(moved / part / "de\u0301")
    assert run(moved, tmp_path / "run", options={"resume": True}, epochs=2).epochs == 2
    assert "d\u00e9" in load_checkpoint(tmp_path / "run" / "last.npz").meta["classes"]


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_resume_gives_the_same_bits_with_compiled_kernels(pictures: Path, tmp_path: Path) -> None:
    options = {"backend": "fast", "threads": 2}
    run(pictures, tmp_path / "whole", options=options, epochs=2)
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 2):
            requests.ask_stop("terminated")

    run(pictures, tmp_path / "parts", Watch(stop), requests, options=options, epochs=2)
    resumed = {"resume": True, "backend": None, "threads": None}
    run(pictures, tmp_path / "parts", options=resumed, epochs=2)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows_without_times(tmp_path / "whole") == rows_without_times(tmp_path / "parts")
