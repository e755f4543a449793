"""`cnn data doubt`: planted label errors are found; output and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND, Inside, csv_rows, process
from data_samples import save_gray
from patience import PATIENCE
from PIL import Image

from cnn_cli.runs.lock import RunLock

FOLDS = ("--folds", 3, "--threads", 1, "--backend", "numpy")
PLANTED = {"dark/3.png": "bright", "bright/5.png": "grey", "grey/7.png": "dark"}
COUNT = 24  # images per class
CONFIG = """\
data: {root: labels.csv, image_size: 8, channels: 1}
model:
  layers:
    - conv: {out_channels: 8, kernel_size: 3, padding: 1}
    - batchnorm
    - relu
    - global_avgpool
    - linear: classes
train: {epochs: 60, batch_size: 8, optimizer: {lr: 0.1}}
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`labels.csv` with three wrong labels, `c.yaml`, and a run of folds; read-only."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for name, level in {"dark": 0, "grey": 95, "bright": 190}.items():
        (folder / name).mkdir()
        for i in range(COUNT):
            pixels = level + rng.integers(0, 60, (8, 8))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
            rows.append(f"{name}/{i}.png,{PLANTED.get(f'{name}/{i}.png', name)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "c.yaml").write_text(CONFIG)
    line = ("data", "doubt", "c.yaml", *FOLDS, "--out", "folds", "--output", "doubts.csv")
    outcome = process(*line, "--sheet", "doubts.png", cwd=folder)
    assert outcome.code == 0, outcome.err
    (folder / "out.txt").write_text(outcome.out)
    return folder


@pytest.fixture
def here(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a copy of `planted`."""
    shutil.copytree(planted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_planted_labels_are_found(planted: Path) -> None:
    rows = csv_rows(planted / "doubts.csv")
    found = {"/".join(Path(row["path"]).parts[-2:]): row for row in rows}
    assert {name: found[name]["label"] for name in PLANTED} == PLANTED
    assert {found[name]["suggested"] for name in PLANTED} == {"dark", "grey", "bright"}
    assert all(found[name]["suggested"] == name.split("/")[0] for name in PLANTED)
    assert len(rows) <= 5
    label_probs = [float(row["label_prob"]) for row in rows]
    assert label_probs == sorted(label_probs)
    for row in rows:
        assert float(row["prob"]) > float(row["label_prob"])
    with Image.open(planted / "doubts.png") as image:
        assert image.format == "PNG"


def test_text(planted: Path) -> None:
    rows = csv_rows(planted / "doubts.csv")
    lines = (planted / "out.txt").read_text().splitlines()
    assert lines[:4] == ["run      folds", "images   72", f"doubted  {len(rows)} labels", ""]
    assert lines[4].split() == ["path", "label", "suggested", "prob", "label_prob"]
    for line, row in zip(lines[6:], rows, strict=True):
        path, label, suggested, prob, label_prob = line.split()
        assert (path, label, suggested) == (row["path"], row["label"], row["suggested"])
        assert (prob, label_prob) == tuple(
            f"{float(row[key]):.4f}" for key in ("prob", "label_prob")
        )


def test_a_run_of_folds_is_judged_again(cnn: Inside, planted: Path, here: Path) -> None:
    outcome = cnn("data", "doubt", planted / "folds", "--json", "--output", "again.csv")
    assert (outcome.code, outcome.err) == (0, "")
    assert Path("again.csv").read_bytes() == (planted / "doubts.csv").read_bytes()
    document = json.loads(outcome.out)
    assert list(document) == [
        *("run", "images", "bad_files", "estimated_wrong", "thresholds", "doubts")
    ]
    assert (document["images"], document["bad_files"]) == (72, 0)
    assert set(document["thresholds"]) == {"dark", "grey", "bright"}
    keys = ["path", "label", "suggested", "prob", "label_prob"]
    assert list(document["doubts"][0]) == keys
    rows = csv_rows(Path("again.csv"))
    assert [each["path"] for each in document["doubts"]] == [row["path"] for row in rows]


@pytest.mark.parametrize("name", ["fold-2", "fold-2/best.npz"])
def test_of_an_ordinary_run_only_unseen_images_are_looked_at(
    cnn: Inside, planted: Path, here: Path, name: str
) -> None:
    outcome = cnn("data", "doubt", planted / "folds" / name, "--output", "one.csv")
    assert outcome.code == 0
    assert outcome.err == (
        "cnn: only 24 images are looked at; 48 others were trained on. With a config instead of a "
        "run, networks are trained that judge all\n"
    )
    assert "images   24\n" in outcome.out
    own = {row["path"] for row in csv_rows(planted / "folds/out_of_fold.csv") if row["fold"] == "2"}
    assert {row["path"] for row in csv_rows(Path("one.csv"))} <= own


def test_nothing_doubted(cnn: Inside, planted: Path, here: Path) -> None:
    list_of = Path("labels.csv").read_text()
    for name, label in PLANTED.items():
        list_of = list_of.replace(f"{name},{label}", f"{name},{name.split('/')[0]}")
    Path("labels.csv").write_text(list_of)
    line = ("data", "doubt", "c.yaml", *FOLDS, "--out", "right", "train.epochs=40")
    outcome = cnn(*line, "--sheet", "none.png", "--output", "none.csv")
    assert outcome.code == 0
    assert outcome.out == "run      right\nimages   72\ndoubted  0 labels\n"
    assert outcome.err.endswith("cnn: none.png: is not written, because no label is doubtful\n")
    assert not Path("none.png").exists()
    assert Path("none.csv").read_text() == "path,label,suggested,prob,label_prob\n"


def test_stopped_and_resumed(cnn: Inside, planted: Path, here: Path) -> None:
    line = ("data", "doubt", "c.yaml", *FOLDS, "--out", "again", "--output", "again.csv")
    outcome = cnn(*line, "--time-limit", "0.001s")
    assert (outcome.code, outcome.out) == (75, "")
    assert outcome.err.splitlines()[-1] == ("cnn: again: time limit; --resume continues its folds")
    assert not Path("again.csv").exists()
    outcome = cnn(*line, "--resume")
    assert outcome.code == 0

    def relative(path: Path) -> list[tuple[str, str]]:
        return [("/".join(Path(row["path"]).parts[-2:]), row["prob"]) for row in csv_rows(path)]

    assert relative(Path("again.csv")) == relative(planted / "doubts.csv")


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGTERM, 75, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals(here: Path, number: int, code: int, reason: str) -> None:
    line = ("data", "doubt", "c.yaml", *FOLDS, "--out", "again", "train.epochs=1000000")
    running = subprocess.Popen(
        [*COMMAND, *map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while not Path("again/fold-1/last.npz").exists() and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(number)
        out, err = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
    assert (running.returncode, out) == (code, b"")
    said = f"cnn: again: {reason}; --resume continues its folds"
    assert err.decode().splitlines()[-1] == said


def test_the_run_is_locked(cnn: Inside, here: Path) -> None:
    Path("locked").mkdir()
    lock = RunLock(Path("locked"))
    assert cnn("data", "doubt", "c.yaml", *FOLDS, "--out", "locked").code == 7
    lock.release()


def test_what_changed_is_said(cnn: Inside, here: Path) -> None:
    assert cnn("train", "c.yaml", *FOLDS, "train.epochs=1", "--out", "new", "--quiet").code == 0
    held = ("data.val_split=0.25", "train.epochs=1", "--out", "held", "--quiet")
    assert cnn("train", "c.yaml", *held).code == 0

    def err(run: str) -> str:
        outcome = cnn("data", "doubt", run)
        assert outcome.code == 0
        return outcome.err.splitlines()[0] if outcome.err else ""

    assert err("new") == ""
    assert err("held").startswith("cnn: only 18 images are looked at; ")
    said = (
        "cnn: the data changed since the run was trained: {}. Some images may be judged by a "
        "network that has seen them; train again to be sure"
    )
    save_gray(Path("dark/0.png"), seed=1, side=8)
    changed = r"(\d+ moved to another part, )?1 with other content"
    for run in ("new", "held"):
        assert re.fullmatch(re.escape(said).replace(r"\{\}", changed), err(run))
    save_gray(Path("dark/new.png"), seed=2, side=8)
    with Path("labels.csv").open("a") as file:
        file.write("\ndark/new.png,dark")
    assert "validation images then, " in err("new")


def test_a_broken_image_is_named(cnn: Inside, here: Path) -> None:
    assert cnn("train", "c.yaml", *FOLDS, "train.epochs=1", "--out", "new", "--quiet").code == 0
    out_of_fold = csv_rows(Path("new/out_of_fold.csv"))
    assert len(out_of_fold) == 72
    Path("grey/0.png").write_bytes(b"no picture")
    outcome = cnn("data", "doubt", "new", "--json")
    assert outcome.code == 0
    assert "grey/0.png: " in outcome.err
    assert json.loads(outcome.out)["bad_files"] == 1
    assert json.loads(outcome.out)["images"] == 71


def test_only_broken_images(cnn: Inside, here: Path) -> None:
    assert cnn("train", "c.yaml", "train.epochs=1", "--out", "one", "--quiet").code == 0
    for path in here.rglob("*.png"):
        path.write_bytes(str(path).encode())  # copies would stay together
    outcome = cnn("data", "doubt", "one")
    rule = r"must hold a readable image\. Got \d+ that cannot, such as .*\.png"
    assert outcome.code == 4
    assert re.search(rf": {rule}: not an image Pillow can read\.\n$", outcome.err)


def test_a_run_without_unseen_images(cnn: Inside, here: Path) -> None:
    line = ("train", "c.yaml", "data.val_split=0", "train.epochs=1", "--out", "all", "--quiet")
    assert cnn(*line).code == 0
    outcome = cnn("data", "doubt", "all")
    assert (outcome.code, outcome.err) == (
        4,
        f"cnn: {here / 'labels.csv'}: must have images that the network was not trained on; train "
        "folds instead. Got none.\n",
    )


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("", 2, "data doubt: needs RUN|CONFIG. Got nothing."),
        ("c.yaml --folds 1", 2, "--folds: must be 2 or more. Got 1."),
        (
            "c.yaml data.val_split=0.2",
            2,
            "--folds: takes the place of data.val_split; give one of them. Got data.val_split=0.2.",
        ),
        (
            "c.yaml --out folds --resume --overwrite",
            2,
            "--overwrite: deletes the run that --resume continues; give one of them.",
        ),
        ("c.yaml --output x.txt", 2, "--output: must be a .csv file. Got 'x.txt'."),
        ("c.yaml --sheet x.jpg", 2, "--sheet: must be a .png file. Got 'x.jpg'."),
        ("c.yaml --sheet no/x.png", 4, "no/x.png: cannot be written. Got no such folder."),
        (
            "folds --folds 3",
            2,
            "--folds: needs a CONFIG, not a run or checkpoint. Got folds.",
        ),
        (
            "folds train.epochs=3",
            2,
            "train.epochs=3: needs a CONFIG, not a run or checkpoint. Got folds.",
        ),
        (
            "folds/fold-1/best.npz --resume",
            2,
            "--resume: needs a CONFIG, not a run or checkpoint. Got folds/fold-1/best.npz.",
        ),
        (
            "folds --memory 1G",
            2,
            "--memory: needs a CONFIG, not a run or checkpoint. Got folds.",
        ),
        ("gone.yaml", 3, "gone.yaml: cannot be read. Got no such file or directory."),
        ("gone.npz", 4, "gone.npz: cannot be read. Got no such file or directory."),
        (
            "dark",
            4,
            "dark: must be a checkpoint, or a run folder with best.npz or last.npz.",
        ),
    ],
)
def test_what_is_refused(cnn: Inside, here: Path, line: str, code: int, message: str) -> None:
    outcome = cnn("data", "doubt", *line.split())
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"cnn: {message}\n")


def test_half_a_run_of_folds(cnn: Inside, here: Path) -> None:
    shutil.rmtree("folds/fold-2")
    outcome = cnn("data", "doubt", "folds")
    assert (outcome.code, outcome.out) == (4, "")
    assert "must hold 3 folds that have been trained; --resume continues them" in outcome.err
