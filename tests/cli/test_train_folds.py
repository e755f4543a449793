"""`cnn train --folds`: a run for each fold, and out-of-fold predictions."""

from __future__ import annotations

import csv
import json
import re
import shutil
import statistics
from pathlib import Path

import pytest
from cli_program import Inside, Outcome, csv_rows, kill_as_each_appears, process
from hardship import assert_same_run, contents
from PIL import Image

from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.lock import RunLock

BOTH = "--overwrite: deletes the run that --resume continues; give one of them."
FOLDS = ("--folds", 3, "--threads", 1, "--backend", "numpy")


@pytest.fixture(scope="session")
def folds(project: Path) -> Path:
    """The run of `cnn train tiny.yaml --folds 3`; read-only."""
    outcome = process("train", "tiny.yaml", *FOLDS, "--out", "folds", "--quiet", cwd=project)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    return project / "folds"


def rows_of(run: Path) -> list[dict[str, str]]:
    return csv_rows(run / "out_of_fold.csv")


def test_every_image_is_predicted_once(project: Path, folds: Path) -> None:
    rows = rows_of(folds)
    pictures = [
        path for part in ("train", "val") for path in (project / "photos" / part).glob("*/*")
    ]
    assert sorted(row["path"] for row in rows) == sorted(map(str, pictures))
    assert {row["true"] for row in rows} == {"bright", "dark", "grey"}
    assert all(row["true"] == Path(row["path"]).parent.name for row in rows)
    assert [int(row["fold"]) for row in rows] == [1] * 12 + [2] * 12 + [3] * 12
    for row in rows:
        assert (row["prob"] == row["true_prob"]) == (row["true"] == row["label"])


def test_a_folds_run_is_an_ordinary_one(cnn: Inside, folds: Path) -> None:
    rows = [row for row in rows_of(folds) if row["fold"] == "2"]
    outcome = cnn("eval", "--ckpt", folds / "fold-2", "--predictions", folds.parent / "p.csv")
    assert outcome.code == 0
    with (folds.parent / "p.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    keys = ("path", "true", "label", "prob")
    assert [[row[key] for key in keys] for row in found] == [
        [row[key] for key in keys] for row in rows
    ]
    assert load_checkpoint(folds / "fold-2/best.npz").meta["config"]["data"]["fold"] == "2/3"
    again = cnn("train", folds / "fold-2/config.yaml", "--out", folds / "fold-2", "--resume")
    assert again.code == 0


def test_text(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", *FOLDS)
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert [line.split(":")[0] if "epoch" in line else line for line in lines] == [
        each
        for number in (1, 2, 3)
        for each in (f"cnn: fold {number} of 3", "epoch 1/2", "epoch 2/2")
    ]
    told = re.sub("  +", "  ", outcome.out)
    assert told.startswith("run  runs/tiny\nfolds  3 of 3\ntop-1  0.")
    assert "out of fold  runs/tiny/out_of_fold.csv\n" in told
    assert "next  cnn report runs/tiny\n" in told
    assert "\n\nfold  images  best epoch  top-1  loss  macro_f1\n" in told
    assert sorted(path.name for path in (here / "runs/tiny").iterdir() if path.name != ".lock") == [
        "fold-1",
        "fold-2",
        "fold-3",
        "out_of_fold.csv",
    ]


def test_json_and_gates(cnn: Inside, project: Path, folds: Path, here: Path) -> None:
    line = ("train", project / "tiny.yaml", *FOLDS, "--out", folds, "--resume", "--json")
    outcome = cnn(*line, "--fail-under", "top1=0")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert list(document) == ["run", "folds", "stopped", "metrics", "out_of_fold"]
    assert [each["run"] for each in document["folds"]] == [
        str(folds / f"fold-{number}") for number in (1, 2, 3)
    ]
    best = [
        statistics.fmean(row["true"] == row["label"] for row in rows_of(folds) if row["fold"] == n)
        for n in "123"
    ]
    top1 = document["metrics"]["top1"]
    assert top1["mean"] == pytest.approx(statistics.fmean(best))
    assert top1["std"] == pytest.approx(statistics.stdev(best))
    assert document["out_of_fold"] == str(folds / "out_of_fold.csv")
    outcome = cnn(*line, "--fail-under", "top1=1.0")
    assert outcome.code == (0 if top1["mean"] == 1 else 6)


def test_a_resume_writes_nothing_new(cnn: Inside, project: Path, folds: Path) -> None:
    before = contents(folds)
    assert cnn("train", project / "tiny.yaml", *FOLDS, "--out", folds, "--resume").code == 0
    assert contents(folds) == before


def test_stopped_by_time_again_and_again(
    cnn: Inside, project: Path, folds: Path, here: Path
) -> None:
    line = ("train", project / "tiny.yaml", *FOLDS, "--out", "a", "--time-limit", "0.001s")
    outcome = cnn(*line)
    assert outcome.code == 75
    assert "folds    0 of 3\nstopped  time limit\n" in outcome.out
    assert not Path("a/out_of_fold.csv").exists()
    ends: list[int] = []
    while not ends or ends[-1] == 75:
        ends.append(cnn(*line, "--resume").code)
    assert ends[-1] == 0
    assert len(ends) >= 10
    for number in (1, 2, 3):
        assert_same_run(folds / f"fold-{number}", here / f"a/fold-{number}")
    assert Path("a/out_of_fold.csv").read_bytes() == (folds / "out_of_fold.csv").read_bytes()


def test_killed_and_resumed(project: Path, folds: Path, here: Path) -> None:
    line = ("train", project / "tiny.yaml", *FOLDS, "--out", "a", "--resume", "--quiet")
    kill_as_each_appears([f"a/fold-{number}/last.npz" for number in (1, 2, 3)], *line)
    assert process(*line, cwd=here).code == 0
    for number in (1, 2, 3):
        assert_same_run(folds / f"fold-{number}", here / f"a/fold-{number}")
    assert Path("a/out_of_fold.csv").read_bytes() == (folds / "out_of_fold.csv").read_bytes()


def test_overwriting(cnn: Inside, project: Path, here: Path) -> None:
    line = ("train", project / "tiny.yaml", "--out", "a", "--quiet", "--epochs", 1)
    assert cnn(*line, "--folds", 3).code == 0
    outcome = cnn(*line, "--folds", 2)
    assert outcome.err == "cnn: --out a: holds a run; give --resume or --overwrite to use it.\n"
    (here / "a/fold-1/mine.txt").touch()
    assert cnn(*line, "--folds", 2, "--overwrite", "--data", "gone").code == 4
    assert (here / "a/fold-3").exists()
    assert cnn(*line, "--folds", 2, "--overwrite").code == 0
    assert not (here / "a/fold-3").exists()
    assert (here / "a/fold-1/mine.txt").exists()
    assert {row["fold"] for row in rows_of(here / "a")} == {"1", "2"}
    assert cnn(*line, "--overwrite").code == 0
    assert not (here / "a/fold-2").exists()
    assert not (here / "a/out_of_fold.csv").exists()


def test_the_run_is_locked(cnn: Inside, project: Path, here: Path) -> None:
    Path("a").mkdir()
    lock = RunLock(Path("a"))
    outcome = cnn("train", project / "tiny.yaml", *FOLDS, "--out", "a")
    assert outcome.code == 7
    lock.release()


def test_a_dry_run_is_of_the_first_fold(cnn: Inside, project: Path, here: Path) -> None:
    outcome = cnn("train", project / "tiny.yaml", "--folds", 4, "--dry-run")
    assert outcome.code == 0
    assert "images       27 to train on, 9 to validate on\n" in outcome.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "1"], "--folds: must be 2 or more. Got 1."),
        (["--folds", "x"], "--folds: must be a whole number, 0 or more. Got 'x'."),
        (["--folds", "1001"], "--folds: must be at most 1,000. Got '1001'."),
        (
            ["--folds", "3", "data.val_split=0.2"],
            "--folds: takes the place of data.val_split; give one of them. Got data.val_split=0.2.",
        ),
        (["--folds", "3", "--resume", "--overwrite"], BOTH),
        (["--folds", "3", "--resume", "--overwrite", "--dry-run"], BOTH),
    ],
)
def test_what_makes_no_sense(cnn: Inside, project: Path, options: list[str], message: str) -> None:
    outcome = cnn("train", project / "tiny.yaml", *options)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")


@pytest.mark.parametrize("epochs", [1, 3], ids=["finished", "begun"])
@pytest.mark.parametrize("command", [("train",), ("data", "doubt")])
def test_images_that_changed_since_a_fold_was_trained(
    cnn: Inside, project: Path, here: Path, command: tuple[str, ...], epochs: int
) -> None:
    photos = shutil.copytree(project / "photos", here / "photos")
    line = (*command, project / "tiny.yaml", *FOLDS, "--data", photos, "--out", "a", "--resume")
    assert cnn(*line, "train.epochs=1").code == 0
    shutil.rmtree("a/fold-3")
    again = (*line, f"train.epochs={epochs}")
    before = contents(here / "a")
    rule = (
        "cnn: a: the images must be those that fold-1 was trained with, so that no network "
        "predicts images that it has seen; --overwrite trains all folds anew. Got "
    )
    path = photos / "train/dark/0.png"
    content = path.read_bytes()
    path.unlink()
    outcome = cnn(*again)
    assert (outcome.code, outcome.out, outcome.err.startswith(rule)) == (4, "", True)
    assert "images then, " in outcome.err
    assert contents(here / "a") == before
    Image.new("L", (8, 8), 7).save(path)
    outcome = cnn(*again)
    assert (outcome.code, outcome.out, outcome.err.startswith(rule)) == (4, "", True)
    assert outcome.err.endswith("1 with other content.\n")
    path.write_bytes(content)
    assert cnn(*again).code == 0


def test_a_fold_that_was_resumed_alone_with_other_images(
    cnn: Inside, project: Path, here: Path
) -> None:
    photos = shutil.copytree(project / "photos", here / "photos")
    line = ("train", project / "tiny.yaml", "--data", photos, "--quiet", "--resume")
    assert cnn(*line, *FOLDS, "--out", "a", "train.epochs=1").code == 0
    path = photos / "train/dark/0.png"
    content = path.read_bytes()
    Image.new("L", (8, 8), 7).save(path)
    own = (*line, "--out", "a/fold-1", "data.fold=1/3")
    assert cnn(*own, "train.epochs=2").code == 0
    path.write_bytes(content)
    assert cnn(*own, "train.epochs=3").code == 0
    outcome = cnn(*line, *FOLDS, "--out", "a", "train.epochs=4")
    assert outcome.code == 4
    assert "trained with" in outcome.err
    assert "Got from epoch 2 on: " in outcome.err


def test_runs_of_another_kind(cnn: Inside, project: Path, folds: Path, trained: Path) -> None:
    for more in ((), ("--dry-run",)):
        check_runs_of_another_kind(cnn, project, folds, trained, more)


def check_runs_of_another_kind(
    cnn: Inside, project: Path, folds: Path, trained: Path, dry: tuple[str, ...]
) -> None:
    line = ("train", project / "tiny.yaml", *dry, "--resume", "--out")
    outcome = cnn(*line, trained, *FOLDS)
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --folds: {trained} holds a run without folds; give another --out.\n",
    )
    outcome = cnn(*line, folds)
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --resume: {folds} holds a run of folds; continue it with --folds. "
        "Got none, beside fold-3.\n",
    )
    outcome = cnn(*line, folds, "--folds", 2)
    assert (outcome.code, outcome.err) == (
        2,
        f"cnn: --folds: {folds} holds more folds, as fold-3. Got 2.\n",
    )
    outcome = cnn(*line, folds, "--folds", 4, "--quiet")
    assert (outcome.code, outcome.err) == (
        3,
        f"cnn: {project / 'tiny.yaml'}: a resumed run keeps its config; only train.epochs and "
        "limits may change. Got another data.fold.\n",
    )
    named = ("train", folds / "fold-1/config.yaml", "--folds", 3, "--out", project / "other")
    for more in ([], ["--dry-run"], ["train.processes=auto", "--dry-run", "--quiet"]):
        assert cnn(*named, *more) == Outcome(
            3,
            "",
            f"cnn: {folds / 'fold-1/config.yaml'}: data.fold: must not be there with --folds, "
            "which trains each of them. Got 1/3.\n",
        )
    assert not (project / "other").exists()
    outcome = cnn("train", project / "tiny.yaml", "data.fold=4/3", "--dry-run")
    assert (outcome.code, outcome.err) == (
        3,
        f"cnn: {project / 'tiny.yaml'}: data.fold: must be one of 2 to 1000 folds, as 2/5. "
        "Got '4/3'.\n",
    )
