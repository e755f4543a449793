"""`cnn eval --top-losses`, and the table on a terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND, Inside
from PIL import Image

from cnn_cli.cli.shared.evaluation_files import SHEET
from cnn_cli.data.dataset import Split
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.judging import Judgement
from cnn_cli.report.pictures import top_losses
from cnn_cli.report.pictures.sheet import Tile
from cnn_cli.report.text.scores import score


def test_a_sheet_of_the_worst(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    line = ["eval", "--ckpt", trained, "--json", "--top-losses", 5]
    outcome = cnn(*line, "--sheet", tmp_path / "worst.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["images"] == 12
    with Image.open(tmp_path / "worst.png") as image:
        assert image.format == "PNG"
        first = image.size
    assert cnn(*line[:-1], 99, "--sheet", tmp_path / "worst.png").code == 0
    with Image.open(tmp_path / "worst.png") as image:
        assert image.height > first[1], "all twelve take more rows than five"


def test_the_default_name_is_said(
    cnn: Inside, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cnn("eval", "--ckpt", trained, "--top-losses", 1)
    assert (outcome.code, outcome.err) == (0, f"cnn: images with the largest loss: {SHEET}\n")
    assert (tmp_path / SHEET).exists()


def test_the_worst_come_first(
    trained: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier.load(trained)
    paths = [str(project / f"photos/val/{name}/0.png") for name in ("bright", "dark", "grey")]
    probabilities = np.array([[0.7, 0.2, 0.1], [0.9, 0.04, 0.06]])
    evaluation = Evaluation.of(np.log(probabilities), np.array([0, 2]), np.array([0, 2]))
    drawn: list[Tile] = []

    def draw(tiles: list[Tile], *_: object) -> bytes:
        drawn.extend(tiles)
        return b"sheet"

    monkeypatch.setattr(top_losses, "sheet_png", draw)
    split = Split(paths, np.array([0, 1, 2]))
    judgement = Judgement(evaluation, classifier.classes)
    assert top_losses.top_losses_png(9, classifier, split, judgement) == b"sheet"
    assert [tile.lines for tile in drawn] == [
        (("grey", " 0.0600"), ("predicted bright", " 0.9000"), ("0", ".png")),
        (("bright", " 0.7000"), ("predicted bright", " 0.7000"), ("0", ".png")),
    ]
    assert drawn[0].pictures[0].size == (168, 168)
    drawn.clear()
    top_losses.top_losses_png(1, classifier, split, judgement)
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sheet x.png", "--sheet: goes with --top-losses N."),
        ("--top-losses 0", "--top-losses: must be a whole number above 0. Got '0'."),
        ("--top-losses 3 --sheet x.jpg", "--sheet: must be a .png file. Got 'x.jpg'."),
        (
            "--top-losses 3 --sheet c.png --confusion c.png",
            "--sheet: must be another file than --confusion.",
        ),
        (
            "--top-losses 3 --sheet ./c.png --confusion x/../c.png",
            "--sheet: must be another file than --confusion.",
        ),
    ],
)
def test_wrong_options(cnn: Inside, trained: Path, options: str, message: str) -> None:
    pytest.importorskip("matplotlib")
    outcome = cnn("eval", "--ckpt", trained, *options.split())
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")


def test_many_classes_leave_the_scores_in_sight() -> None:
    names = [f"class {i}" for i in range(50)]
    labels = np.arange(50)
    logits = np.eye(50)
    logits[[7, 30]] = logits[[30, 7]]
    evaluation = Evaluation.of(logits, labels, labels)
    scores = score(Judgement(evaluation, names), 0, 5)
    lines = scores.as_text(most=10).splitlines()
    assert lines[-1] == "the 10 of 50 classes with the lowest f1; | cat shows all"
    assert [line.split()[1] for line in lines[11:13]] == ["7", "30"]
    assert len(lines) == 11 + 10 + 1
    assert len(scores.as_text().splitlines()) == 11 + 50


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_the_table_fits_the_terminal(trained: Path, project: Path, tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import subprocess
    import termios

    from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint

    name = "a class whose name is long enough to be shortened"
    checkpoint = load_checkpoint(trained / "best.npz")
    checkpoint.meta["classes"][0] = name
    save_checkpoint(tmp_path / "m.npz", checkpoint)
    shutil.copytree(project / "photos/val/bright", tmp_path / "photos" / name)
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    line = [*COMMAND, "eval", str(tmp_path / "photos"), "--ckpt", str(tmp_path / "m.npz")]
    with subprocess.Popen(line, stdout=other, stderr=subprocess.DEVNULL) as program:
        os.close(other)
        text = b""
        while part := _read(main):
            text += part
    os.close(main)
    assert program.returncode == 0
    rows = text.decode().splitlines()
    assert max(map(len, rows)) == 60
    assert any(row.startswith("a cla") and "…" in row for row in rows)
    assert name not in text.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's end of a terminal's output
        return b""
