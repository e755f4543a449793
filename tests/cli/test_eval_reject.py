"""`cnn eval --calibrate --reject`, and predictions for rejected images."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND, Inside, process
from PIL import Image

import cnn_cli
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def photos(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts with a few wrong labels, which calibration needs."""
    folder = tmp_path_factory.mktemp("reject") / "photos"
    shutil.copytree(project / "photos", folder)
    for i in range(2):
        shutil.copy(folder / f"val/dark/{i}.png", folder / f"val/bright/wrong{i}.png")
    return folder


@pytest.fixture(scope="module")
def learnt(trained: Path, photos: Path) -> Path:
    """A checkpoint that rejects images."""
    model = Path(shutil.copy(trained / "best.npz", photos.parent / "m.npz"))
    line = ("eval", photos, "--ckpt", model, "--calibrate", "--reject", 0.2, "--threads", 1)
    outcome = process(*line)
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith(f"cnn: {model}: refuses 2 of 14 validation images\n")
    return model


@pytest.fixture
def label(cnn: Inside, trained: Path, picture: Path) -> str:
    """The predicted class of `picture`."""
    return cnn("predict", picture, "--ckpt", trained).out.split("\t")[1]


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """An image unlike all classes."""
    pixels = np.zeros((8, 8), np.uint8)
    pixels[::2] = 255
    Image.fromarray(pixels).save(tmp_path / "stripes.png")
    return tmp_path / "stripes.png"


def test_summary_says_that_it_refuses_some(cnn: Inside, learnt: Path) -> None:
    lines = cnn("summary", learnt).out.splitlines()
    assert "refuses      2 of 14 validation images" in lines


def test_export_says_that_it_is_left_out(cnn: Inside, learnt: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    outcome = cnn("export", "--ckpt", learnt, "--output", tmp_path / "m.safetensors")
    line = f"cnn: {learnt}: refuses images, which is not exported\n"
    assert (outcome.code, outcome.err) == (0, line)


def test_the_report_says_how_the_temperature_was_found(
    cnn: Inside, learnt: Path, photos: Path, tmp_path: Path
) -> None:
    """Also if it is 1."""
    checkpoint = load_checkpoint(learnt)
    for temperature, words in (
        (0.5, "Scores are divided by the temperature 0.5000, found by"),
        (1.0, "Scores are divided by the temperature 1.0000, found by"),
        (None, "The temperature is 1: <code>cnn eval --calibrate</code> has not been run."),
    ):
        checkpoint.meta.pop("calibration", None)
        if temperature is not None:
            checkpoint.meta["calibration"] = {"temperature": temperature}
        save_checkpoint(tmp_path / "m.npz", checkpoint)
        page = tmp_path / "page.html"
        outcome = cnn("report", tmp_path / "m.npz", "--data", photos, "--output", page)
        assert outcome.code == 0, outcome.err
        assert words in page.read_text()


def test_all_formats_say_that_it_is_unknown(
    cnn: Inside, learnt: Path, stripes: Path, picture: Path, label: str
) -> None:
    line = ("predict", stripes, picture, "--ckpt", learnt, "--threads", 1)
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    refused, named = (row.split("\t") for row in outcome.out.splitlines())
    assert refused[:2] == [str(stripes), "unknown"]
    assert 0 <= float(refused[2]) <= 1
    assert named[:2] == [str(picture), label]
    first, second = json.loads(cnn(*line, "--json").out)
    assert (first["label"], first["rejected"]) == (None, True)
    assert first["prob"] == pytest.approx(float(refused[2]), abs=1e-6)
    assert first["topk"][0]["prob"] == first["prob"]
    assert second["label"] == label
    assert "rejected" not in second
    rows = list(csv.DictReader(io.StringIO(cnn(*line, "--format", "csv").out)))
    assert [(row["label"], row["rejected"]) for row in rows] == [("", "true"), (label, "")]
    with cnn_cli.load(learnt, threads=1) as model:
        found = model.predict([stripes, picture])
    assert [(each.label, each.rejected) for each in found] == [(None, True), (label, False)]


def test_the_scores_are_those_of_before(
    cnn: Inside, learnt: Path, trained: Path, photos: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(learnt)
    del checkpoint.groups["rejection"]
    save_checkpoint(tmp_path / "plain.npz", checkpoint)
    line = ("predict", photos / "test", "--probs", "--json", "--threads", 1, "--ckpt")
    ours, plain = (json.loads(cnn(*line, ckpt).out) for ckpt in (learnt, tmp_path / "plain.npz"))
    for one, other in zip(ours, plain, strict=True):
        assert list(one["probs"].values()) == pytest.approx(list(other["probs"].values()), abs=1e-5)
    scores = [
        cnn("eval", photos, "--json", "--ckpt", ckpt).out
        for ckpt in (learnt, tmp_path / "plain.npz")
    ]
    assert scores[0] == scores[1]


def test_about_the_share_is_refused(cnn: Inside, learnt: Path, photos: Path) -> None:
    rows = json.loads(cnn("predict", photos / "val", "--ckpt", learnt, "--json").out)
    assert sum(row.get("rejected", False) for row in rows) == 2
    stored = load_checkpoint(learnt, ()).meta["rejection"]
    assert (stored["share"], stored["images"], stored["refused"]) == (0.2, 14, 2)


def test_refused_pictures_have_a_folder_of_their_own(
    cnn: Inside, learnt: Path, stripes: Path, picture: Path, label: str, tmp_path: Path
) -> None:
    line = ("predict", stripes, picture, "--ckpt", learnt, "--sort-into", tmp_path / "sorted")
    assert cnn(*line, "--append", tmp_path / "rows.jsonl").code == 0
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("sorted/*/*.png"))
    assert names == ["sorted/_unknown/stripes.png", f"sorted/{label}/0.png"]
    before = (tmp_path / "rows.jsonl").read_text()
    assert json.loads(before.splitlines()[0])["rejected"] is True
    assert cnn(*line, "--append", tmp_path / "rows.jsonl").code == 0
    assert (tmp_path / "rows.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reject", "0.05"), "--reject: goes with --calibrate."),
        (("--calibrate", "--reject", "0"), "--reject: must be above 0 and below 1. Got 0.0."),
        (("--calibrate", "--reject", "1"), "--reject: must be above 0 and below 1. Got 1.0."),
        (("--calibrate", "--reject", "x"), "--reject: must be a number from 0 to 1. Got 'x'."),
    ],
)
def test_what_is_refused(
    cnn: Inside, trained: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = cnn("eval", "--ckpt", trained, *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")


def test_one_checkpoint_twice_refuses_what_it_refuses(
    cnn: Inside, learnt: Path, photos: Path, stripes: Path
) -> None:
    line = ("predict", stripes, photos / "val", "--json", "--threads", 1)
    alone, twice = (
        json.loads(cnn(*line, *ckpts).out)
        for ckpts in (("--ckpt", learnt), ("--ckpt", learnt, "--ckpt", learnt))
    )
    for one, other in zip(alone, twice, strict=True):
        assert other.get("rejected") == one.get("rejected")
        assert other["label"] == one["label"]
        assert other["prob"] == pytest.approx(one["prob"], abs=1e-5)
    assert sum(row.get("rejected", False) for row in twice) == 3
    with cnn_cli.load([learnt, learnt], threads=1) as model:
        assert [each.rejected for each in model.predict([stripes])] == [True]


def test_two_checkpoints_refuse_by_their_mean_distance(
    cnn: Inside, learnt: Path, stripes: Path, tmp_path: Path
) -> None:
    """A checkpoint that is strict enough has its way; a lenient one does not stop it."""
    checkpoint = load_checkpoint(learnt)
    bound = checkpoint.meta["rejection"]["bound"]
    others = []
    for name, factor in (("strict", 1e-9), ("lenient", 1e9)):
        checkpoint.meta["rejection"]["bound"] = bound * factor
        save_checkpoint(tmp_path / f"{name}.npz", checkpoint)
        others.append(tmp_path / f"{name}.npz")
    rejected = []
    for ckpts in ([others[1]], [others[1]] * 2, [others[1], others[0]]):
        options = [each for ckpt in ckpts for each in ("--ckpt", ckpt)]
        (row,) = json.loads(cnn("predict", stripes, *options, "--json").out)
        rejected.append(row.get("rejected", False))
    assert rejected == [False, False, True]


def test_all_checkpoints_must_refuse(
    cnn: Inside, learnt: Path, trained: Path, picture: Path
) -> None:
    outcome = cnn("predict", picture, "--ckpt", trained, "--ckpt", learnt)
    rule = f"must refuse images (cnn eval --calibrate --reject) as {learnt} does"
    message = f"cnn: {trained}/best.npz: {rule}, which it is averaged with.\n"
    assert (outcome.code, outcome.out, outcome.err) == (4, "", message)


def test_images_that_are_all_right_have_a_bound_too(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path
) -> None:
    """No temperature fits them: it stays 1."""
    model = Path(shutil.copy(trained / "best.npz", tmp_path / "m.npz"))
    photos = tmp_path / "photos"
    shutil.copytree(project / "photos/train", photos / "train")
    for row in json.loads(cnn("predict", photos / "train", "--ckpt", model, "--json").out):
        (photos / "val" / row["label"]).mkdir(parents=True, exist_ok=True)
        source = Path(row["path"])
        shutil.copy(source, photos / "val" / row["label"] / f"{source.parent.name}{source.name}")
    line = ("eval", photos, "--ckpt", model, "--calibrate", "--json", "--threads", 1)
    before = model.read_bytes()
    outcome = cnn(*line)
    assert (outcome.code, model.read_bytes()) == (4, before)
    outcome = cnn(*line, "--reject", 0.25)
    assert outcome.code == 0
    assert outcome.err == (
        f"cnn: {model}: no temperature is best with 1.0000 of 24 images right: it is 1\n"
        f"cnn: {model}: refuses 5 of 24 validation images\n"
        f"cnn: {model}: has temperature 1.0000 now\n"
    )
    found = json.loads(outcome.out)["calibration"]
    assert (found["temperature"], found["loss_before"]) == (1, found["loss_after"])
    assert load_checkpoint(model, ()).meta["rejection"]["refused"] == 5


@pytest.mark.parametrize("what", ["shape", "nan", "facts"])
def test_a_damaged_rejection(
    cnn: Inside, learnt: Path, picture: Path, tmp_path: Path, what: str
) -> None:
    checkpoint = load_checkpoint(learnt)
    arrays = checkpoint.groups["rejection"]
    if what == "shape":
        arrays["whitening"] = arrays["whitening"][:-1]
    elif what == "nan":
        arrays["means"] = arrays["means"] * np.nan
    else:
        checkpoint.meta["rejection"] = {"bound": "far"}
    save_checkpoint(tmp_path / "a.npz", checkpoint)
    outcome = cnn("predict", picture, "--ckpt", tmp_path / "a.npz")
    rule = "rejection must be what cnn eval --reject stores"
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/a.npz: {rule}.\n")


def test_killed_at_any_moment(trained: Path, photos: Path, tmp_path: Path) -> None:
    """The checkpoint is unchanged or contains the rejection."""
    model = tmp_path / "m.npz"
    before = (trained / "best.npz").read_bytes()
    model.write_bytes(before)
    line = ["eval", str(photos), "--ckpt", str(model), "--calibrate", "--reject", "0.2"]
    began = time.monotonic()
    assert process(*line).code == 0
    whole, took = model.read_bytes(), time.monotonic() - began
    model.write_bytes(before)
    for part in (0.5, 0.8, 0.95):
        started = subprocess.Popen([*COMMAND, *line], stdout=subprocess.DEVNULL)
        time.sleep(part * took)
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert model.read_bytes() in (before, whole)
