"""`curves.png` and `confusion.png` of a run folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, process
from PIL import Image

from cnn_cli.cli.train import draw_run
from cnn_cli.inference.validation import stored_confusion
from cnn_cli.report.pictures import run_pictures
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.folder import RunFolder

NAMES = ["confusion.png", "curves.png"]


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A finished run without plots."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("*.png"))
    return folder


def drawn(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_the_best_epoch_keeps_its_confusion(trained: Path) -> None:
    best = load_checkpoint(trained / "best.npz")
    matrix = stored_confusion(best)
    assert matrix is not None
    np.testing.assert_array_equal(matrix.sum(axis=1), [4, 4, 4])
    state = best.meta["state"]
    assert matrix.trace() / 12 == state["rows"][state["best_epoch"] - 1]["val_top1"]
    best.groups["validation"]["confusion"] = matrix - 9
    assert stored_confusion(best) is None
    best.groups["validation"]["confusion"] = matrix[:2]
    assert stored_confusion(best) is None
    assert stored_confusion(load_checkpoint(trained / "last.npz")) is None


def test_a_training_ends_with_pictures(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "run"
    outcome = process("train", "tiny.yaml", "--out", out, "--quiet", cwd=project)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert drawn(out) == NAMES
    for name in NAMES:
        with Image.open(out / name) as image:
            image.load()


def test_pictures_are_drawn_again_only_where_the_run_went_on(run: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_run(run, quiet=False)
    assert drawn(run) == NAMES
    for name in NAMES:
        (run / name).write_bytes(b"old")
    draw_run(run, quiet=False)
    assert (run / "curves.png").read_bytes() == b"old"
    os.utime(run / "curves.png", (1, 1))
    draw_run(run, quiet=False)
    assert b"old" not in ((run / "curves.png").read_bytes(), (run / "confusion.png").read_bytes())


def test_a_run_of_an_older_version_has_curves_only(run: Path) -> None:
    pytest.importorskip("matplotlib")
    best = load_checkpoint(run / "best.npz")
    del best.groups["validation"]
    save_checkpoint(run / "best.npz", best)
    draw_run(run, quiet=False)
    assert drawn(run) == ["curves.png"]


def test_without_matplotlib_there_are_none(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_pictures, "find_spec", lambda name: None)
    draw_run(run, quiet=False)
    assert drawn(run) == []
    assert capsys.readouterr().err == ""


def test_a_run_that_another_one_goes_on_with_is_left_alone(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunFolder(run):
        draw_run(run, quiet=False)
    assert drawn(run) == []
    assert capsys.readouterr().err == ""


def test_what_was_not_begun_leaves_no_folder(tmp_path: Path) -> None:
    draw_run(tmp_path / "run", quiet=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("drawing")
def test_what_cannot_be_drawn_is_a_note_and_the_run_is_there(
    cnn: Inside, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("no font")

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(run_pictures, "_draw", fail)
    out = tmp_path / "run"
    outcome = cnn("train", project / "tiny.yaml", "--out", out, "--epochs", 1)
    assert outcome.code == 0
    note = f"cnn: {out}: curves.png and confusion.png cannot be drawn: no font\n"
    assert outcome.err.endswith(note)
    assert (out / "best.npz").exists()
    outcome = cnn("train", project / "tiny.yaml", "--out", out, "--resume", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
