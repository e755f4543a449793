"""Trainings that are stopped and resumed: the same bits, or a refusal."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from learnable import config_document, make_pictures
from PIL import Image
from short_training import Watch, rows_without_times, run, weights

from cnn_cli.config import validate_config
from cnn_cli.errors import ConfigError, DataError
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

T = TypeVar("T")


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


@pytest.mark.parametrize("keys", [{}, {"ema": 0.5}, {"on_nan": "rollback"}])
def test_a_stop_before_the_first_step_keeps_the_estimated_statistics(
    pictures: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    class Stopped(Requests):
        def awaited(self, items: Iterator[T]) -> Iterator[T]:
            self.stop = "terminated"
            return super().awaited(items)

    keys |= {"precise_bn": True}
    run(pictures, tmp_path / "run", options={"until": 2}, **keys)
    before = weights(tmp_path / "run")
    assert any(name.startswith("precise_bn/") for name in before)
    resume = {"resume": True}
    result = run(pictures, tmp_path / "run", requests=Stopped(), options=resume, **keys)
    assert (result.epochs, result.stopped) == (2, "terminated")
    after = weights(tmp_path / "run")
    assert {name: after.get(name) for name in before} == before
    run(pictures, tmp_path / "run", options=resume, **keys)
    run(pictures, tmp_path / "whole", **keys)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


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
        "the data changed since the last session: 18 training and 6 validation images then, "
        "17 and 6 now; 1 removed"
    ]


def repaint(pictures: Path) -> None:
    shutil.copy(pictures / "train/dark/1.png", pictures / "train/bright/1.png")


def rename(pictures: Path) -> None:
    (pictures / "train/bright/1.png").rename(pictures / "train/bright/one.png")


def relabel(pictures: Path) -> None:
    (pictures / "train/bright/1.png").rename(pictures / "train/dark/one.png")


def exchange(pictures: Path) -> None:
    for name in ("train/dark/1.png", "val/dark/1.png"):
        (pictures / name).rename(pictures / name.replace("1.png", "one.png"))
    for part, other in (("train", "val"), ("val", "train")):
        (pictures / part / "dark/one.png").rename(pictures / other / "dark/1.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (repaint, "1 with other content"),
        (rename, "1 added, 1 removed"),
        (relabel, "1 added, 1 removed"),
        (exchange, "2 with other content"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_resume_says_that_images_changed_though_not_their_number(
    tmp_path: Path, change: Callable[[Path], None], said: str, listed: bool
) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    change(pictures)
    if not listed:
        (tmp_path / "run/receipt.csv").unlink()
        said = "names, classes or contents of images differ"
    watch = Watch()
    run(pictures, tmp_path / "run", watch, options={"resume": True}, epochs=2)
    assert watch.notes == [f"the data changed since the last session: {said}"]
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    events = [event for event in lines if event["event"] == "resume"]
    assert [{**event, "time": ""} for event in events] == [
        {"time": "", "event": "resume", "epoch": 2, "step": 0, "data_change": said}
    ]
    watch = Watch()
    run(pictures, tmp_path / "run", watch, options={"resume": True}, epochs=3)
    assert watch.notes == []


def test_a_change_before_the_first_step_of_a_split_by_content(tmp_path: Path) -> None:
    """With `data.val_split`, a new content may move its image to another part."""
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2) / "train"
    config = config_document(pictures, epochs=1)
    config["data"]["val_split"] = 0.34

    def go(epochs: int, *, resume: bool) -> list[str]:
        config["train"]["epochs"] = epochs
        watch = Watch()
        options = TrainOptions(tmp_path / "run", resume=resume, threads=1, backend="numpy")
        train(validate_config(config, "c.yaml"), "c.yaml", options, Requests(), watch)
        return watch.notes

    go(1, resume=False)
    assert go(2, resume=True) == []
    for i, path in enumerate(sorted(pictures.glob("*/*.png"))):
        Image.new("L", (16, 16), i).save(path)
    (note,) = go(3, resume=True)
    assert re.fullmatch(
        r"the data changed since the last session: \d+ moved to another part, "
        r"18 with other content",
        note,
    )


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
    watch = Watch()
    assert run(moved, tmp_path / "run", watch, options={"resume": True}, epochs=2).epochs == 2
    assert watch.notes == []
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
