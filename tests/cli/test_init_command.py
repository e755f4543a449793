"""`cnn init`: from a folder of images to a config that trains."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.config import Config, load_config
from cnn_cli.proposal import measure as module
from cnn_cli.proposal.choose import Speed
from cnn_cli.proposal.survey import Survey


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixed speeds instead of measurements."""

    def measure(config: Config, survey: Survey, source: str, **_: object) -> Speed:
        return Speed(training=100, prediction=400, decoding=200, augmenting=300)

    monkeypatch.setattr(module, "measure", measure)


def paint(place: Path, count: int, side: int = 8, level: int = 0, mode: str = "RGB") -> None:
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(level)
    for i in range(count):
        pixels = level + rng.integers(0, 60, (side, side, 3) if mode == "RGB" else (side, side))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")


def test_a_folder_becomes_a_run(cnn: Inside, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure", partial(module.measure, seconds=0.0))
    paint(here / "photos" / "bright", 30, level=190)
    paint(here / "photos" / "dark", 30)
    outcome = cnn("init", "photos", "--threads", 1)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("found     2 classes, ")
    assert "written   photos.yaml" in lines
    assert lines[-1] == "next      cnn train photos.yaml --threads 1 --backend numpy"
    trained = cnn("train", "photos.yaml", "--threads", 1, "train.epochs=3")
    assert trained.code == 0, trained.err
    assert (here / "runs/photos/best.npz").exists()
    text = (here / "runs/photos/metrics.csv").read_text()
    assert len(text.splitlines()) == 4


def test_photographs(cnn: Inside, here: Path, measured: None) -> None:
    for name in ("cat", "dog"):
        paint(here / "photos" / name, 40, side=200)
    outcome = cnn("init", "photos", "--budget", "1h", "--from", "scratch")
    assert (outcome.code, outcome.err) == (0, "")
    config = load_config(here / "photos.yaml")
    assert config.data.root == str(here / "photos")
    assert (config.data.image_size, config.data.channels) == ((128, 128), 3)
    assert config.augment.hflip == 0.5
    assert config.augment.cutmix is not None
    assert config.train.batch_size == 16
    text = (here / "photos.yaml").read_text()
    assert "# Measured here: 100 images/s in training, 400 in validation," in text
    assert "\n#     cnn train photos.yaml --backend numpy\n" in text


def test_small_gray_pictures_in_parts(cnn: Inside, here: Path, measured: None) -> None:
    for part, count in (("train", 12), ("val", 6), ("test", 3)):
        for name in ("0", "1"):
            paint(here / "digits" / part / name, count, side=28, mode="L")
    outcome = cnn("init", "digits", "--output", "ten.yaml")
    assert outcome.out.splitlines()[:3] == [
        "found     2 classes, 24 training images, 12 for validation, 6 for testing; 12 per class",
        "images    Grayscale images, 28×28 pixels (all of the 24 examined)",
        "network   plain, 28×28 pixels",
    ]
    text = (here / "ten.yaml").read_text()
    assert "  # hflip: 0.5\n" in text
    assert "val_split" not in text
    config = load_config(here / "ten.yaml")
    assert (config.data.image_size, config.data.channels) == ((28, 28), 1)
    assert config.augment.hflip is None
    assert config.augment.pad_crop is not None
    assert config.data.sampler == "shuffle"
    assert cnn("train", "ten.yaml", "--dry-run").code == 0


def test_unbalanced_classes(cnn: Inside, here: Path, measured: None) -> None:
    paint(here / "photos" / "common", 40)
    paint(here / "photos" / "rare", 4)
    assert cnn("init", "photos").code == 0
    assert load_config(here / "photos.yaml").data.sampler == "balanced"


def test_a_picture_a_class(cnn: Inside, here: Path, measured: None) -> None:
    paint(here / "photos" / "a", 1)
    paint(here / "photos" / "b", 1, level=190)
    outcome = cnn("init", "photos")
    note = "There are too few images to hold some back; training will run without validation"
    assert f"note      {note}" in outcome.out.splitlines()
    assert cnn("train", "photos.yaml", "--threads", 1, "train.epochs=2").code == 0


def test_a_budget_that_is_too_short(cnn: Inside, here: Path, measured: None) -> None:
    paint(here / "photos" / "a", 30)
    paint(here / "photos" / "b", 30, level=190)
    outcome = cnn("init", "photos", "--budget", "2s")
    note = (
        "The budget of 2s is too short even for the fastest network; the config has 10 epochs, "
        "the fewest that make sense"
    )
    assert f"note      {note}" in outcome.out.splitlines()
    assert f"# {note}.\n" in (here / "photos.yaml").read_text()
    assert load_config(here / "photos.yaml").train.epochs == 10


def test_json(cnn: Inside, here: Path, measured: None) -> None:
    paint(here / "photos" / "a", 20)
    paint(here / "photos" / "b", 20, level=190)
    outcome = cnn("init", "photos", "-o", "my config.yaml", "--json")
    document = json.loads(outcome.out)
    assert document["config"] == "my config.yaml"
    assert document["next"] == "cnn train 'my config.yaml' --backend numpy"
    assert document["found"]["classes"] == ["a", "b"]
    assert sum(document["found"]["train"] + document["found"]["val"]) == 40
    assert document["chosen"]["epochs"] == load_config(here / "my config.yaml").train.epochs
    assert document["measured"]["training"] == 100


def test_a_config_is_not_overwritten(cnn: Inside, here: Path, measured: None) -> None:
    paint(here / "photos" / "a", 3)
    paint(here / "photos" / "b", 3, level=190)
    (here / "photos.yaml").write_text("mine")
    outcome = cnn("init", "photos")
    message = "photos.yaml: already exists; give --overwrite, or another --output FILE."
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")
    assert (here / "photos.yaml").read_text() == "mine"
    assert cnn("init", "photos", "--overwrite").code == 0
    assert load_config(here / "photos.yaml").train.epochs > 0


KINDS = "or a list (.csv, .tsv, .txt), an archive (.zip, .tar, .tar.gz) or shards (s-{00..12}.tar)"
EXAMPLE = "such as bad/a/x.png: not an image Pillow can read"
LAYOUT = "must be a folder with a sub-folder of images for each class"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("absent", f"absent: {LAYOUT}. Got no such folder."),
        ("file.png", f"file.png: {LAYOUT}, {KINDS}. Got another file."),
        ("empty", f"empty: {LAYOUT}. Got no sub-folder."),
        ("one", "one: must hold at least two classes. Got one: 'a'."),
        ("none", "none/b: must hold at least one image. Got none."),
        ("bad", f"bad: must hold a readable image. Got 2 that cannot, {EXAMPLE}."),
    ],
)
def test_folders_without_pictures(cnn: Inside, here: Path, folder: str, message: str) -> None:
    paint(here / "one" / "a", 2)
    paint(here / "none" / "a", 2)
    (here / "none" / "b").mkdir()
    (here / "empty").mkdir()
    (here / "file.png").touch()
    for name in ("a", "b"):
        (here / "bad" / name).mkdir(parents=True)
        (here / "bad" / name / "x.png").write_bytes(b"no picture")
    outcome = cnn("init", folder)
    assert (outcome.code, outcome.out, outcome.err) == (4, "", f"cnn: {message}\n")
    assert not list(here.glob("*.yaml"))


def test_an_output_that_cannot_be_written(cnn: Inside, here: Path) -> None:
    paint(here / "photos" / "a", 2)
    outcome = cnn("init", "photos", "--output", "no/x.yaml")
    message = "no/x.yaml: cannot be written. Got no such folder."
    assert (outcome.code, outcome.err) == (4, f"cnn: {message}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_folder_whose_name_is_no_utf8(cnn: Inside, here: Path, measured: None) -> None:
    """Its config trains, and the checkpoint predicts."""
    name = os.fsdecode(b"p\xe9")
    for label, level in (("bright", 190), ("dark", 0)):
        paint(here / name / label, 12, level=level)
    outcome = cnn("init", name, "--output", "new.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    assert load_config("new.yaml").data.root == str(here / name)
    outcome = cnn("train", "new.yaml", "--out", "run", "--epochs", 1, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert load_config("run/config.yaml").data.root == str(here / name)
    assert cnn("eval", "--ckpt", "run", "--split", "all").code == 0


def test_a_list_of_several_labels(cnn: Inside, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure", partial(module.measure, seconds=0.0))
    paint(here / "pics", 40)
    labels = ["cat", "cat|dog", "dog", "none"] * 10
    rows = [f"pics/{i}.png,{label}" for i, label in enumerate(labels)]
    (here / "tags.csv").write_text("\n".join(["path,label", *rows]))
    told = (
        "cnn: tags.csv: an image may have several labels; --labels single takes each text "
        "as one class\n"
    )
    outcome = cnn("init", "tags.csv", "--threads", 1, "--json")
    assert (outcome.code, outcome.err) == (0, told)
    found = json.loads(outcome.out)["found"]
    assert found["classes"] == ["cat", "dog"]
    assert [a + b for a, b in zip(found["train"], found["val"], strict=True)] == [20, 20]
    assert load_config("tags.yaml").data.labels == "multiple"
    trained = cnn("train", "tags.yaml", "--threads", 1, "train.epochs=2")
    assert trained.code == 0, trained.err
    checked = cnn("data", "check", "tags.csv", "--threads", 1)
    assert (checked.code, checked.err) == (0, told)
    assert checked.out.splitlines()[2] == "all         2      40  20      20"
    alone = cnn("data", "check", "tags.csv", "--threads", 1, "--labels", "single")
    assert alone.out.splitlines()[2].split()[:3] == ["all", "4", "40"]
    wrong = cnn("init", "tags.csv", "--labels", "several", "--overwrite")
    assert (wrong.code, wrong.err) == (
        2,
        "cnn: --labels: must be single or multiple. Got 'several'.\n",
    )
    folder = cnn("data", "check", "pics", "--labels", "multiple")
    assert (folder.code, folder.err) == (
        4,
        "cnn: pics: must be a label list (.csv, .tsv, .txt) if data.labels is multiple. "
        "Got a folder, which gives an image one label.\n",
    )
