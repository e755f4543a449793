"""Receipts in checkpoints, and `cnn verify`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

SAME = """\
training    24 images, the same
validation  12 images, the same
config      the same
"""
RULE = "the images and the config must be as they were when the network was trained"


@pytest.fixture
def photos(project: Path, tmp_path: Path) -> Path:
    """A copy of the images that tests may change."""
    return Path(shutil.copytree(project / "photos", tmp_path / "photos"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def repaint(path: Path, level: int = 7) -> None:
    Image.new("L", (8, 8), level).save(path)


def test_the_same(cnn: Inside, trained: Path, photos: Path) -> None:
    for line in ((trained,), (trained / "last.npz",), (trained, "--data", photos)):
        outcome = cnn("verify", *line)
        assert (outcome.code, outcome.out, outcome.err) == (0, SAME, "")


def test_the_list(trained: Path, project: Path) -> None:
    header, *rows = (trained / "receipt.csv").read_text().splitlines()
    assert header == "part,class,path,hash"
    assert len(rows) == 36
    assert rows == sorted(rows)
    assert rows[0].startswith("train,bright,train/bright/0.png,")
    assert len({row.split(",")[3] for row in rows}) == 36
    receipt = load_checkpoint(trained / "best.npz").meta["receipt"]
    assert set(receipt) == {"train", "val", "config"}
    assert receipt == load_checkpoint(trained / "last.npz").meta["receipt"]


def test_what_changed_is_named(cnn: Inside, run: Path, photos: Path) -> None:
    repaint(photos / "train/dark/0.png")
    (photos / "val/bright/1.png").unlink()
    repaint(photos / "val/grey/new\x1b\n.png")
    outcome = cnn("verify", run, "--data", photos)
    assert outcome.code == 6
    assert outcome.out.splitlines() == [
        "training    24 images, changed",
        "validation  12 images, changed",
        "config      the same",
        "added\tval\tval/grey/new\\x1b\\n.png",
        "changed\ttrain\ttrain/dark/0.png\tcontent",
        "removed\tval\tval/bright/1.png",
    ]
    assert outcome.err == f"cnn: {run}/best.npz: {RULE}. Got 1 added, 1 changed, 1 removed.\n"
    document = json.loads(cnn("verify", run, "--data", photos, "--json").out)
    assert document["same"] is False
    assert document["images"] == {"train": 24, "val": 12}
    assert document["same_images"] == {"train": False, "val": False}
    assert [each["kind"] for each in document["changes"]] == ["added", "changed", "removed"]


def test_a_picture_of_another_class_or_part(cnn: Inside, project: Path, tmp_path: Path) -> None:
    paths = sorted((project / "photos/train").rglob("*.png"))
    rows = [
        [str(path), path.parent.name, "train" if i % 4 else "val"] for i, path in enumerate(paths)
    ]

    def write() -> None:
        lines = [",".join(row) for row in [["path", "label", "split"], *rows]]
        (tmp_path / "list.csv").write_text("\n".join(lines))

    write()
    line = ("--data", tmp_path / "list.csv", "--out", tmp_path / "run", "--quiet")
    assert cnn("train", project / "tiny.yaml", *line, "train.epochs=1").code == 0
    assert cnn("verify", tmp_path / "run").code == 0
    rows[1][1], rows[2][2] = "dark", "val"
    write()
    outcome = cnn("verify", tmp_path / "run")
    changes = [row.split("\t") for row in outcome.out.splitlines()[3:]]
    assert [(kind, part, what) for kind, part, _, what in changes] == [
        ("changed", "train", "bright to dark"),
        ("changed", "val", "train to val"),
    ]
    assert outcome.code == 6


def test_another_class(cnn: Inside, run: Path, photos: Path) -> None:
    (photos / "train/white").mkdir()
    repaint(photos / "train/white/0.png", 255)
    outcome = cnn("verify", run, "--data", photos)
    assert outcome.code == 6
    assert "added\ttrain\ttrain/white/0.png\n" in outcome.out
    shutil.rmtree(photos / "train/white")
    for part in ("train", "val", "test"):
        shutil.rmtree(photos / part / "grey")
    outcome = cnn("verify", run, "--data", photos)
    assert outcome.code == 6
    assert outcome.out.count("removed\t") == 12


def test_without_a_list(cnn: Inside, run: Path, photos: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "model.npz"
    alone.parent.mkdir()
    shutil.copy(run / "best.npz", alone)
    assert cnn("verify", alone, "--data", photos).code == 0
    repaint(photos / "train/dark/0.png")
    outcome = cnn("verify", alone, "--data", photos)
    got = "other training images, and no list that names them"
    assert (outcome.code, outcome.err) == (6, f"cnn: {alone}: {RULE}. Got {got}.\n")
    # A list of other images is not a receipt.
    text = (run / "receipt.csv").read_text()
    (run / "receipt.csv").write_text(text.replace("train/dark/1.png", "train/dark/x.png"))
    outcome = cnn("verify", run, "--data", photos)
    assert outcome.err == f"cnn: {run}/best.npz: {RULE}. Got {got}.\n"


def test_another_config(cnn: Inside, run: Path, photos: Path) -> None:
    file = run / "config.yaml"
    before = file.read_text()
    file.write_text(before.replace("lr: 0.05", "lr: 0.5"))
    assert file.read_text() != before
    outcome = cnn("verify", run, "--data", photos)
    got = "another train.optimizer.lr in config.yaml"
    assert outcome.err == f"cnn: {run}/best.npz: {RULE}. Got {got}.\n"
    file.write_text(before)
    checkpoint = load_checkpoint(run / "best.npz")
    checkpoint.meta["config"]["train"]["seed"] = 9
    save_checkpoint(run / "best.npz", checkpoint)
    outcome = cnn("verify", run, "--data", photos)
    assert outcome.code == 6
    assert outcome.err.endswith("Got another config in the checkpoint.\n")


def test_a_moved_run_and_moved_pictures(cnn: Inside, run: Path, photos: Path) -> None:
    moved = photos.rename(photos.parent / "moved")
    text = "\n".join(
        line.replace(line.split("root: ")[1], str(moved)) if "root: " in line else line
        for line in (run / "config.yaml").read_text().splitlines()
    )
    (run / "config.yaml").write_text(text)
    assert cnn("verify", run, "--data", moved).code == 0


def test_no_receipt(cnn: Inside, run: Path) -> None:
    checkpoint = load_checkpoint(run / "best.npz")
    del checkpoint.meta["receipt"]
    save_checkpoint(run / "best.npz", checkpoint)
    outcome = cnn("verify", run)
    rule = (
        "has no receipt of its images; data.shards, cnn average and older versions of cnn train "
        "write none"
    )
    assert (outcome.code, outcome.out, outcome.err) == (4, "", f"cnn: {run}/best.npz: {rule}.\n")
    checkpoint.meta["receipt"] = {"train": 3}
    save_checkpoint(run / "best.npz", checkpoint)
    outcome = cnn("verify", run)
    rule = "meta.receipt must be a mapping of names to texts"
    assert (outcome.code, outcome.err) == (4, f"cnn: {run}/best.npz: {rule}.\n")


def test_what_is_refused(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    outcome = cnn("verify")
    assert (outcome.code, outcome.err) == (2, "cnn: verify: needs CKPT|RUN. Got nothing.\n")
    outcome = cnn("verify", tmp_path / "gone\x1b.npz")
    rule = "cannot be read. Got no such file or directory."
    assert (outcome.code, outcome.err) == (4, f"cnn: {tmp_path}/gone\\x1b.npz: {rule}\n")
    outcome = cnn("verify", trained, "--data", tmp_path / "gone")
    assert outcome.code == 4
    assert outcome.err.startswith(f"cnn: {tmp_path}/gone: ")


def test_names_that_are_no_text(cnn: Inside, project: Path, photos: Path, tmp_path: Path) -> None:
    bad = os.fsdecode(os.fsencode(photos / "train/dark") + b"/=\xff,\"'.png")
    repaint(Path(bad))
    line = ("train", project / "tiny.yaml", "--data", photos, "train.epochs=1", "--quiet")
    assert cnn(*line, "--out", tmp_path / "own").code == 0
    assert cnn("verify", tmp_path / "own").code == 0
    os.unlink(bad)
    outcome = cnn("verify", tmp_path / "own")
    assert outcome.out.splitlines()[3:] == ["removed\ttrain\ttrain/dark/=\\udcff,\"'.png"]


def test_a_resume_keeps_the_receipt(cnn: Inside, project: Path, tmp_path: Path) -> None:
    line = ("train", project / "tiny.yaml", "--out", tmp_path / "run", "--quiet")
    assert cnn(*line, "train.epochs=1").code == 0
    before = (tmp_path / "run/receipt.csv").read_bytes()
    assert cnn(*line, "--resume", "train.epochs=2").code == 0
    assert (tmp_path / "run/receipt.csv").read_bytes() == before
    assert cnn("verify", tmp_path / "run").code == 0


def test_a_resume_with_other_images_is_not_the_same(
    cnn: Inside, project: Path, photos: Path, tmp_path: Path
) -> None:
    line = ("train", project / "tiny.yaml", "--data", photos, "--out", tmp_path / "run", "--quiet")
    assert cnn(*line, "train.epochs=1").code == 0
    repaint(photos / "train/dark/0.png")
    (photos / "val/dark/0.png").unlink()
    assert cnn(*line, "--resume", "train.epochs=2").code == 0
    change = (
        "from epoch 2 on: 24 training and 12 validation images then, 24 and 11 now; 1 removed, "
        "1 with other content"
    )
    last = tmp_path / "run/last.npz"
    outcome = cnn("verify", last)
    assert (outcome.code, outcome.out, outcome.err) == (
        6,
        "training    24 images, the same\nvalidation  11 images, the same\n"
        f"config      the same\nchanged     {change}\n",
        f"cnn: {last}: {RULE}. Got images that changed during the training.\n",
    )
    document = json.loads(cnn("verify", last, "--json").out)
    assert document["same"] is False
    assert document["same_images"] == {"train": True, "val": True}
    assert document["changes_during_training"] == [change]
    assert cnn(*line, "--resume", "train.epochs=3").code == 0
    assert cnn("verify", last).code == 6


def test_a_run_of_folds(cnn: Inside, project: Path, photos: Path, here: Path) -> None:
    line = ("train", project / "tiny.yaml", "--data", photos, "--folds", 2, "train.epochs=1")
    assert cnn(*line, "--out", "folds", "--quiet", "--threads", 1).code == 0
    outcome = cnn("verify", "folds")
    each = (
        "training    18 images, the same\nvalidation  18 images, the same\nconfig      the same\n"
    )
    assert (outcome.code, outcome.out) == (0, f"fold-1\n{each}\nfold-2\n{each}")
    repaint(photos / "train/dark/0.png")
    outcome = cnn("verify", "folds", "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 6
    assert (document["run"], document["same"]) == ("folds", False)
    assert [one["checkpoint"] for one in document["folds"]] == [
        f"folds/fold-{number}/best.npz" for number in (1, 2)
    ]
    assert all(one["changes"] for one in document["folds"])
    assert outcome.err.startswith(f"cnn: folds/fold-1/best.npz: {RULE}. Got ")
