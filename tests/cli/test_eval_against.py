"""`cnn eval --not-worse-than`: compare two models on the same images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

IMAGES = 30  # of each class


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    for name, level in {"bright": 190, "dark": 0, "grey": 95}.items():
        (folder / name).mkdir()
        for i in range(IMAGES):
            pixels = level + rng.integers(0, 60, (8, 8))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model that uses the mean of an image, and one that always predicts `dark`."""
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    checkpoint = load_checkpoint(trained / "best.npz")
    weight = checkpoint.groups["model"]["layers.4/weight"]
    bias = checkpoint.groups["model"]["layers.4/bias"]
    save_checkpoint(good, checkpoint)
    weight[...] = 0
    bias[...] = [0, 5, 0]
    save_checkpoint(bad, checkpoint)
    return good, bad


def differ(cnn: Inside, photos: Path, models: tuple[Path, Path]) -> int:
    """Return how many more images the first model predicts correctly."""
    outcomes = [cnn("eval", photos, "--ckpt", one, "--json") for one in models]
    top1: list[float] = [json.loads(one.out)["top1"] for one in outcomes]
    return round((top1[0] - top1[1]) * 3 * IMAGES)


def test_the_worse_model_is_refused(
    cnn: Inside, photos: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    good, bad = models
    if differ(cnn, photos, models) < 0:
        good, bad = bad, good
    changes = tmp_path / "changes.csv"
    line = ["eval", photos, "--ckpt", bad, "--not-worse-than", good, "--predictions", changes]
    outcome = cnn(*line)
    last = outcome.out.splitlines()[-1]
    assert last.startswith("top1 0.")
    assert f", {good} " in last
    worse = " worse (p = " in last and "not worse" not in last
    assert (outcome.code == 6) is worse
    if worse:
        rule = f"top1 must not be worse than that of {good}. Got {last}."
        assert outcome.err == f"cnn: --not-worse-than: {rule}\n"
    rows = list(csv.DictReader(changes.read_text().splitlines()))
    assert list(rows[0])[5:] == ["other_label", "other_prob", "change"]
    for row in rows:
        before, now = row["other_label"] == row["true"], row["label"] == row["true"]
        if row["other_label"] == row["label"]:
            assert row["change"] == ""
        else:
            assert row["change"] == ("better" if now else "worse" if before else "other")
    count = sum(row["change"] == "worse" for row in rows)
    assert f", {count} there only;" in last
    assert cnn("eval", photos, "--ckpt", good, "--not-worse-than", bad).code == 0


def test_a_model_is_not_worse_than_itself(
    cnn: Inside, photos: Path, models: tuple[Path, Path]
) -> None:
    good, _ = models
    line = ["eval", photos, "--ckpt", good, "--not-worse-than", good, "--json"]
    outcome = cnn(*line, "--fail-under", "loss=9", "--fail-under", "recall:dark=0")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)["not_worse_than"]
    assert (found["ckpt"], found["alpha"]) == (str(good), 0.05)
    assert list(found["metrics"]) == ["top1", "loss", "recall:dark"]
    assert found["metrics"]["top1"]["p"] == 1
    assert found["metrics"]["loss"]["interval"] == [0, 0]
    assert not any(one["worse"] for one in found["metrics"].values())


def test_classes_in_another_order(
    cnn: Inside, photos: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    good, _ = models
    checkpoint = load_checkpoint(good)
    order = [2, 0, 1]
    for name in ("weight", "bias"):
        array = checkpoint.groups["model"][f"layers.4/{name}"]
        checkpoint.groups["model"][f"layers.4/{name}"] = array[order]
    checkpoint.meta["classes"] = [checkpoint.meta["classes"][i] for i in order]
    save_checkpoint(tmp_path / "other.npz", checkpoint)
    predictions = tmp_path / "p.csv"
    line = ["--not-worse-than", tmp_path / "other.npz", "--json", "--predictions", predictions]
    outcome = cnn("eval", photos, "--ckpt", good, *line, "--fail-under", "f1:grey=0")
    top1, f1 = json.loads(outcome.out)["not_worse_than"]["metrics"].values()
    assert (top1["only_new"], top1["only_other"]) == (0, 0)
    assert f1["interval"] == [0, 0]
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert all(row["label"] == row["other_label"] for row in rows)


def test_other_classes(
    cnn: Inside, photos: Path, models: tuple[Path, Path], tmp_path: Path
) -> None:
    good, _ = models
    checkpoint = load_checkpoint(good)
    checkpoint.meta["classes"][2] = "gray"
    other = tmp_path / "other.npz"
    save_checkpoint(other, checkpoint)
    outcome = cnn("eval", photos, "--ckpt", good, "--not-worse-than", other)
    message = f"{other}: must have the classes of --ckpt. Got 'gray' in {other} only."
    assert (outcome.code, outcome.out, outcome.err) == (4, "", f"cnn: {message}\n")


@pytest.fixture
def of_two_bands(models: tuple[Path, Path], tmp_path: Path) -> Path:
    """The good model for images of two bands; the second is ignored."""
    checkpoint, path = load_checkpoint(models[0]), tmp_path / "bands.npz"
    weight = checkpoint.groups["model"]["layers.0/weight"]
    zeros = np.zeros_like(weight)
    axis = weight.shape.index(1)
    checkpoint.groups["model"]["layers.0/weight"] = np.concatenate([weight, zeros], axis)
    checkpoint.meta["preprocess"]["channels"] = checkpoint.meta["config"]["data"]["channels"] = 2
    del checkpoint.meta["network"]  # built from the config
    for key in ("mean", "std"):
        checkpoint.meta[key] = checkpoint.meta[key] * 2
    save_checkpoint(path, checkpoint)
    return path


def of_bands(folder: Path, bands: str) -> Path:
    """Write images of each class: `1` has one band, `2` two, `a` a second one that is alpha.

    A model of one band reads `1` and `a`, a model of two bands reads `2` and `a`.
    """
    for name, level in {"bright": 220, "dark": 30, "grey": 125}.items():
        (folder / name).mkdir(parents=True)
        for i, band in enumerate(bands):
            pixels = np.full((8, 8), level, np.uint8)
            if band == "2":
                np.save(folder / name / f"{i}.npy", np.dstack([pixels, pixels]))
            else:
                image = Image.fromarray(pixels)
                image.convert("L" if band == "1" else "LA").save(folder / name / f"{i}.png")
    return folder


def unread(folder: Path, i: int) -> str:
    rule = "must have 2 bands, as data.channels says. Got 1 band."
    return "".join(
        f"cnn: {folder / name / f'{i}.png'}: {rule}\n" for name in ("bright", "dark", "grey")
    )


def test_images_that_only_the_other_model_cannot_read(
    cnn: Inside, models: tuple[Path, Path], of_two_bands: Path, tmp_path: Path
) -> None:
    photos = of_bands(tmp_path / "photos", "a1a")
    for name in ("bright", "dark", "grey"):
        (photos / name / "9.png").write_bytes(b"neither can read it")
    line = ("eval", photos, "--ckpt", models[0], "--not-worse-than", of_two_bands)
    outcome = cnn(*line, "--json")
    neither = "".join(
        f"cnn: {photos / name / '9.png'}: not an image Pillow can read.\n"
        for name in ("bright", "dark", "grey")
    )
    told = f"cnn: {of_two_bands}: is compared on the 6 of 9 images that it can read, too\n"
    assert (outcome.code, outcome.err) == (0, neither + unread(photos, 1) + told)
    found = json.loads(outcome.out)
    assert (found["images"], found["not_worse_than"]["images"]) == (9, 6)


@pytest.mark.parametrize(("bands", "read"), [("1", 3), ("12", 3), ("11", 6)])
def test_no_image_that_both_can_read(
    cnn: Inside,
    models: tuple[Path, Path],
    of_two_bands: Path,
    tmp_path: Path,
    bands: str,
    read: int,
) -> None:
    photos, changes = of_bands(tmp_path / "photos", bands), tmp_path / "changes.csv"
    line = ("--ckpt", models[0], "--not-worse-than", of_two_bands, "--predictions", changes)
    outcome = cnn("eval", photos, *line)
    rule = "must be able to read an image that --ckpt can read"
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.splitlines()[-1] == f"cnn: {of_two_bands}: {rule}. Got none of {read}."
    assert not changes.exists()


def test_an_undefined_metric_is_no_pass(
    cnn: Inside, models: tuple[Path, Path], of_two_bands: Path, tmp_path: Path
) -> None:
    """The other model reads no image of a class."""
    photos = of_bands(tmp_path / "photos", "a")
    Image.new("L", (8, 8)).save(photos / "dark/0.png")
    gates = ("--fail-under", "recall:grey=0", "--fail-under", "recall:dark=0")
    line = ("eval", photos, "--ckpt", models[0], "--not-worse-than", of_two_bands, *gates)
    outcome = cnn(*line)
    last = outcome.out.splitlines()[-1]
    undefined = "not comparable: it is not defined for these images"
    assert last == f"recall:dark –, {of_two_bands} –; {undefined}"
    rule = f"recall:dark must not be worse than that of {of_two_bands}. Got {last}."
    assert outcome.code == 6
    assert outcome.err.splitlines()[-1] == f"cnn: --not-worse-than: {rule}"
    outcome = cnn(*line, "--json")
    assert outcome.code == 6
    top1, grey, dark = json.loads(outcome.out)["not_worse_than"]["metrics"].values()
    assert (top1["worse"], grey["worse"], dark["worse"]) == (False, False, None)
    assert (dark["new"], dark["other"], dark["interval"]) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--alpha 0.1", "--alpha: goes with --not-worse-than CKPT."),
        ("--alpha 0 --not-worse-than x", "--alpha: must be above 0, up to 0.5. Got 0.0."),
        (
            "--alpha 0.6 --not-worse-than x",
            "--alpha: must be a number from 0 to 0.5. Got '0.6'.",
        ),
        (
            "--calibrate --not-worse-than x",
            "--calibrate: changes the checkpoint: goes without --not-worse-than.",
        ),
    ],
)
def test_wrong_options(cnn: Inside, trained: Path, options: str, message: str) -> None:
    outcome = cnn("eval", "--ckpt", trained, *options.split())
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")


def test_a_model_that_is_not_there(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    outcome = cnn("eval", "--ckpt", trained, "--not-worse-than", tmp_path / "live.npz")
    assert outcome.code == 4
    assert outcome.err.startswith(f"cnn: {tmp_path}/live.npz: ")
