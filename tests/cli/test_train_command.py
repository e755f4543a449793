"""`cnn train`: output, files and exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND, Inside, Outcome, process
from hardship import contents
from PIL import Image

from cnn_cli.metric_names import TOP1
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.training import session
from cnn_cli.training import train as train_module

KEYS = [
    "run",
    "epochs",
    "best_epoch",
    "monitor",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "val_macro_f1",
    "val_weighted_f1",
    "val_balanced_accuracy",
    "val_kappa",
    "val_mcc",
    "val_brier",
    "val_ece",
    "seconds",
    "stopped",
]
ROW = EpochRow(3, 0.51234, 0.81, 0.48, 0.829, 0.08123, 12.34, 1630.4)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_line_per_epoch_on_stderr_and_the_files_on_stdout(
    cnn: Inside, project: Path, here: Path
) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--threads", 1)
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    names = [line[:12].strip() for line in outcome.out.splitlines()]
    assert names == ["run", "epochs", "train", "validation", "best", "time", "next", ""]
    assert "run         runs/tiny\n" in outcome.out
    assert "best        runs/tiny/best.npz (epoch " in outcome.out
    assert outcome.out.endswith(
        "next        cnn eval --ckpt runs/tiny\n            cnn report runs/tiny\n"
    )
    assert (here / "runs/tiny/best.npz").exists()


def test_json(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--json", "--out", "a", "--epochs", 1)
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert list(result) == KEYS
    assert (result["run"], result["epochs"], result["best_epoch"]) == ("a", 1, 1)
    assert result["stopped"] is None
    assert 0 <= result["val_top1"] <= 1


def test_quiet(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--quiet", "--out", "a")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    outcome = cnn("train", project / "tiny.yaml", "--quiet", "--out", "a")
    message = "cnn: --out a: holds a run; give --resume or --overwrite to use it.\n"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", message)
    for options in (["--resume"], ["--resume", "--json"], ["--overwrite", "--dry-run"]):
        outcome = cnn("train", project / "tiny.yaml", "--quiet", "--out", "a", *options)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_options_override_keys_which_override_the_config(
    cnn: Inside, project: Path, here: Path
) -> None:
    os.symlink(project / "photos", here / "pictures")
    line = "train.epochs=7 train.batch_size=5 train.seed=3 --epochs 0 --data pictures --lr 0.5"
    outcome = cnn("train", project / "tiny.yaml", *line.split(), "-b", 6, "--out", "a")
    assert outcome.code == 0
    config = load_checkpoint("a/last.npz").meta["config"]
    assert config["train"]["epochs"] == 0
    assert config["train"]["batch_size"] == 6
    assert config["train"]["seed"] == 3
    assert config["train"]["optimizer"]["lr"] == 0.5
    assert config["data"]["root"] == str(here / "pictures")


def test_no_epochs_write_the_first_weights(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--epochs", 0)
    assert outcome.code == 0
    assert "last    runs/tiny/last.npz\n" in outcome.out
    outcome = cnn("train", project / "tiny.yaml", "--epochs", 0, "--json")
    assert json.loads(outcome.out)["val_top1"] is None


def test_dry_run_writes_nothing(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--dry-run")
    assert outcome.code == 0
    assert "images" in outcome.out
    assert outcome.err == ""
    outcome = cnn("train", project / "tiny.yaml", "--dry-run", "--json")
    plan = json.loads(outcome.out)
    assert plan["classes"] == ["bright", "dark", "grey"]
    assert plan["train_images"] == 24
    assert list(here.iterdir()) == []


def test_weights(cnn: Inside, project: Path, trained: Path, here: Path) -> None:
    line = ["--epochs", 0, "--weights", trained, "--out", "a"]
    outcome = cnn("train", project / "tiny.yaml", *line)
    assert outcome.code == 0, outcome.err
    ours, theirs = load_checkpoint("a/last.npz"), load_checkpoint(trained / "best.npz")
    np.testing.assert_array_equal(
        ours.groups["model"]["layers.0/weight"], theirs.groups["model"]["layers.0/weight"]
    )


def test_time_limit(cnn: Inside, project: Path, here: Path) -> None:
    line = ["--epochs", 100_000, "--time-limit", "0.2s", "--out", "a"]
    outcome = cnn("train", project / "tiny.yaml", *line, "--json")
    assert outcome.code == 75
    assert json.loads(outcome.out)["stopped"] == "time limit"
    outcome = cnn("train", project / "tiny.yaml", *line, "--resume")
    assert outcome.code == 75
    pairs = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert pairs["stopped"] == "time limit"
    assert pairs["next"] == "cnn train a/config.yaml --out a --resume"
    outcome = cnn("train", project / "tiny.yaml", *line, "--resume", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (75, "", "")


def test_stopped_before_anything_was_saved(
    cnn: Inside, project: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Existing files are reported, and nothing else."""

    def stop(*arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    line = ("train", project / "tiny.yaml", "--out", "a", "--epochs", 2)
    with monkeypatch.context() as patch:
        patch.setattr(session, "open_training_data", stop)
        outcome = cnn(*line)
    said = "epochs   0\nstopped  terminated\nlast     nothing was saved\ntime     0.0 s\n"
    assert (outcome.code, outcome.out, outcome.err) == (75, said, "")
    assert not (here / "a").exists()
    assert cnn(*line, "--epochs", 1).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(session, "open_training_data", stop)
        outcome = cnn(*line, "--resume")
    assert outcome.code == 75
    assert "next        cnn train a/config.yaml --out a --resume\n" in outcome.out


def test_fail_under_is_about_the_best_epoch(
    cnn: Inside, project: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = replace(ROW, epoch=2, val_top1=0.25, val={"recall:a=b:c": 0.5, "kappa": None})
    result = TrainResult(Path("a"), 3, TOP1, best, ROW, 1.0, None, {})
    monkeypatch.setattr(train_module, "train", lambda *arguments: result)
    line = ["train", project / "tiny.yaml", "--quiet", "--fail-under"]
    for held in ("top1=0.25", "0.25", "loss=0.48", "recall:a=b:c=0.5"):
        assert cnn(*line, held).code == 0
    other = "none: that epoch did not measure it; cnn eval does"
    for broken, said in (
        ("top1=0.26", "top1 must be at least 0.26. Got 0.25."),
        ("0.26", "top1 must be at least 0.26. Got 0.25."),
        ("loss=0.4", "loss must be at most 0.4. Got 0.48."),
        ("recall:a=b:c=0.6", "recall:a=b:c must be at least 0.6. Got 0.5."),
        ("kappa=-1", "kappa must be at least -1. Got none: it is not defined for these images."),
        ("auc=0", f"auc must be at least 0. Got {other}."),
    ):
        outcome = cnn(*line, "top1=0.2", "--fail-under", broken)
        assert (outcome.code, outcome.err) == (6, f"cnn: --fail-under: {said}\n")


def test_fail_under_where_no_validation_image_could_be_read(
    cnn: Inside, project: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = replace(ROW, val_loss=None, val_top1=None)
    result = TrainResult(Path("a"), 3, TOP1, best, ROW, 1.0, None, {})
    monkeypatch.setattr(train_module, "train", lambda *arguments: result)
    outcome = cnn("train", project / "tiny.yaml", "--quiet", "--fail-under", "top1=0")
    message = "top1 must be at least 0. Got none: no validation image was read"
    assert (outcome.code, outcome.err) == (6, f"cnn: --fail-under: {message}.\n")


def test_fail_under_without_validation(cnn: Inside, project: Path, here: Path) -> None:
    photos = project / "photos/train"
    line = ["--data", photos, "data.val_split=0", "--fail-under", "top1=0", "--quiet"]
    outcome = cnn("train", project / "tiny.yaml", *line)
    message = "cnn: --fail-under: top1 needs validation images. Got none.\n"
    assert (outcome.code, outcome.err) == (2, message)
    assert not list(here.rglob("*.npz")), "it was trained before"


def test_a_run_that_another_process_trains(cnn: Inside, project: Path, here: Path) -> None:
    (here / "a").mkdir()
    with open(here / "a/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = cnn("train", project / "tiny.yaml", "--out", "a")
        message = "cnn: a: another process is training into this run folder.\n"
        assert (outcome.code, outcome.out, outcome.err) == (7, "", message)
        outcome = cnn("train", project / "tiny.yaml", "--out", "a", "--quiet")
        assert (outcome.code, outcome.out, outcome.err) == (7, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope.yaml"], 3, "nope.yaml: cannot be read. Got no such file or directory."),
        (
            ["{config}", "train.epoks=3"],
            3,
            "{config}: train.epoks: unknown key. Did you mean 'epochs'?",
        ),
        (
            ["{config}", "model.layers.0.conv.kernel_size=99"],
            3,
            "{config}: model.layers[0].conv: a 99x99 kernel does not fit its input of "
            "10x10 (padding included). Got an input of 8x8x1.",
        ),
        (
            ["{config}", "--data", "nowhere"],
            4,
            "{here}/nowhere: must be a folder with a sub-folder of images for each class. "
            "Got no such folder.",
        ),
        (
            ["{config}", "--out", "{config}"],
            4,
            "{config}: must be a folder that can be written to. Got file exists.",
        ),
        (
            ["{config}", "--weights", "w.npz"],
            4,
            "{here}/w.npz: cannot be read. Got no such file or directory.",
        ),
    ],
)
def test_what_cannot_be_trained(
    cnn: Inside, project: Path, here: Path, arguments: list[str], code: int, message: str
) -> None:
    places = {"config": project / "tiny.yaml", "here": here}
    outcome = cnn("train", *(argument.format(**places) for argument in arguments))
    expected = f"cnn: {message.format(**places)}\n"
    assert (outcome.code, outcome.out, outcome.err) == (code, "", expected)


def test_a_run_is_resumed_or_overwritten_but_not_both(
    cnn: Inside, project: Path, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    before = contents(run)
    line = ("train", project / "tiny.yaml", "--out", run, "--resume", "--overwrite")
    for more in ([], ["--dry-run"], ["--epochs", 3]):
        assert cnn(*line, *more) == Outcome(
            2, "", "cnn: --overwrite: deletes the run that --resume continues; give one of them.\n"
        )
    assert contents(run) == before


def test_bad_images_are_counted(cnn: Inside, project: Path, here: Path) -> None:
    for name in ("bright", "dark"):
        place = here / "photos" / name
        place.mkdir(parents=True)
        for source in (project / "photos/train" / name).iterdir():
            (place / source.name).symlink_to(source)
    (here / "photos/dark/broken.png").write_bytes(b"no image")
    outcome = cnn("train", project / "tiny.yaml", "--data", "photos", "data.val_split=0")
    assert outcome.code == 0
    assert "bad files  1: runs/tiny/bad_files.txt\n" in outcome.out
    assert "next       cnn predict IMAGE --ckpt runs/tiny\n" in outcome.out


def test_names_of_any_bytes(project: Path, tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn")
    outcome = process("train", project / "tiny.yaml", "--out", out, "--epochs", 0)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"run     {tmp_path}/r\\udcffn\n" in outcome.out
    outcome = process("train", project / "tiny.yaml", "--out", out)
    assert outcome.err.startswith(f"cnn: --out {tmp_path}/r\\udcffn: holds a run; ")


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_compiled_kernels_are_the_default(project: Path, tmp_path: Path) -> None:
    line = [*COMMAND, "train", str(project / "tiny.yaml"), "--out", str(tmp_path / "run")]
    for options in (["--epochs", "1"], ["--epochs", "2", "--resume"]):
        done = subprocess.run(
            [*line, *options, "--quiet"], capture_output=True, text=True, check=True
        )
        assert done.stdout + done.stderr == ""
    assert load_checkpoint(tmp_path / "run" / "last.npz").meta["backend"] == "fast"


def test_what_is_left_out_and_files_of_several_frames_are_said(
    cnn: Inside, project: Path, here: Path
) -> None:
    shutil.copytree(project / "photos", "photos")
    Path("photos/train/dark/notes.txt").touch()
    frames = [Image.new("L", (8, 8), value) for value in (0, 255)]
    frames[0].save("photos/train/dark/film.gif", save_all=True, append_images=frames[1:])
    outcome = cnn("train", project / "tiny.yaml", "--data", "photos", "--threads", 1)
    lines = [line for line in outcome.err.splitlines() if line.startswith("cnn: ")]
    film = here / "photos/train/dark/film.gif"
    assert lines == [
        "cnn: 1 .txt left out",
        f"cnn: {film}: the first of several frames is taken",
    ]
    outcome = cnn("train", project / "tiny.yaml", "--data", "photos", "--dry-run", "--json")
    assert outcome.err == "cnn: 1 .txt left out\n"
    assert json.loads(outcome.out)["remarks"] == ["1 .txt left out"]
