"""Names of classes and files that contain terminal sequences or formulas."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from cli_program import Inside, process
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn_cli import safe_csv
from cnn_cli.errors import printable
from cnn_cli.report.text.table import display_width

CLASSES = (
    *("\x1b[31mred", "\u202eolleh\u2066", "=cmd()|x", "+1", "-1", "@SUM(A1)"),
    "tab\tnl\ncr\r\x9b1m",
)
PICTURE = "=1+2\x1b]0;title\x07\u202e\u2069.png"
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
CONFIG = """\
data: {root: photos, image_size: 8, channels: 1}
model: {layers: [global_avgpool, {linear: classes}]}
train: {epochs: 1, batch_size: 8}
"""
OUT = "out\x1b[1m\u202e"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, `t.yaml` and `run`, and a broken image; read-only."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    for i, name in enumerate(CLASSES):
        (folder / "photos" / name).mkdir(parents=True)
        for k in range(3):
            pixels = 30 * i + rng.integers(0, 30, (8, 8))
            file = folder / "photos" / name / f"{k}{PICTURE}"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    (folder / f"broken{PICTURE}").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (folder / "t.yaml").write_text(CONFIG)
    outcome = process("train", "t.yaml", "--threads", 1, "--out", "run", cwd=folder)
    assert outcome.code == 0, outcome.err
    assert_safe(outcome.out + outcome.err)
    return folder


def assert_safe(text: str) -> None:
    found = {char for char in text if unicodedata.category(char) in UNSAFE} - set("\n\t")
    assert found == set(), text


@pytest.mark.parametrize(
    "line",
    [
        "train t.yaml --dry-run --out OUT",
        "train t.yaml train.epochs=0 --out OUT",
        "train t.yaml --out OUT",
        "train OUT",
        "train t.yaml OUT=1",
        "train t.yaml --OUT",
        "lr t.yaml --backend numpy --steps 20 --plot OUT.png",
        "lr t.yaml OUT=1",
        "lr OUT",
        "sweep t.yaml train.optimizer.lr=0.01,0.1 --backend numpy --out OUT",
        "sweep t.yaml train.optimizer.lr=0.1,OUT --out OUT",
        "sweep t.yaml OUT=1..2 --out OUT",
        "sweep t.yaml train.weights=OUT,run --backend numpy --out OUT",
        "sweep OUT OUT=1..2",
        "eval --ckpt run --split all",
        "eval OUT --ckpt run",
        "eval --ckpt OUT",
        "predict photos BROKEN --ckpt run",
        "predict photos BROKEN --ckpt run --format csv",
        "explain BROKEN photos --ckpt run --output OUT",
        "report run --output OUT.html",
        "summary OUT",
        "data check photos",
        "data check OUT",
        "data doubt run --output OUT.csv --sheet OUT.png",
        "data doubt t.yaml --folds 2 --backend numpy --out OUT",
        "data doubt OUT",
        "data preview t.yaml --output OUT.png",
        "export --ckpt run --output OUT.safetensors",
        "import OUT --config t.yaml --output x.npz",
        "init OUT",
        "docs OUT",
        "OUT",
        "--debug predict OUT --ckpt OUT",
    ],
)
def test_nothing_reaches_a_terminal(
    cnn: Inside, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    for name in hostile.iterdir():
        os.symlink(name, tmp_path / name.name)
    monkeypatch.chdir(tmp_path)
    arguments = [
        word.replace("OUT", OUT).replace("BROKEN", f"broken{PICTURE}") for word in line.split()
    ]
    outcome = cnn(*arguments)
    assert "internal error" not in outcome.err
    assert outcome.out + outcome.err != ""
    assert_safe(outcome.out + outcome.err)


def cells_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_cells_are_no_formulas(
    cnn: Inside, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hostile)
    files = tmp_path / "p.csv", tmp_path / "c.csv"
    outcome = cnn(
        *("eval", "--ckpt", "run", "--split", "all"),
        *("--predictions", files[0], "--confusion", files[1]),
    )
    assert (outcome.code, outcome.err) == (0, "")
    monkeypatch.chdir("photos/=cmd()|x")
    texts = [file.read_text() for file in files]
    texts.append(cnn("predict", f"0{PICTURE}", "--ckpt", hostile / "run", "--format", "csv").out)
    shutil.copy(f"0{PICTURE}", tmp_path / PICTURE)
    monkeypatch.chdir(tmp_path)
    texts.append(cnn("predict", PICTURE, "--ckpt", hostile / "run", "--format", "csv").out)
    for text in texts:
        assert_safe(text)
        for row in cells_of(text):
            assert [cell for cell in row if cell.startswith(tuple("=+-@\t\r\n"))] == []
    assert cells_of(texts[3])[1][0] == "'=1+2\\x1b]0;title\\x07\\u202e\\u2069.png"
    assert {row[0] for row in cells_of(texts[1])} >= {"'=cmd()|x", "'+1", "'-1", "'@SUM(A1)"}


def test_json_is_exact(cnn: Inside, hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hostile)
    outcome = cnn("predict", "photos", f"broken{PICTURE}", "--ckpt", "run", "--json")
    paths = {row["path"] for row in json.loads(outcome.out)}
    assert paths == {f"photos/{name}/{k}{PICTURE}" for name in CLASSES for k in range(3)} | {
        f"broken{PICTURE}"
    }
    outcome = cnn("eval", "--ckpt", "run", "--split", "all", "--json")
    assert set(json.loads(outcome.out)["classes"]) == set(CLASSES)


@given(st.text())
def test_any_name(name: str) -> None:
    assert_safe(printable(name))
    assert "\n" not in printable(name) + printable(name + "\n")
    assert printable(printable(name)) == printable(name)
    row = safe_csv.line((name, -0.5, 3))
    assert_safe(row)
    [cells] = cells_of(row)
    assert cells[1:] == ["-0.500000", "3"]
    assert not cells[0].startswith(tuple("=+-@\t\r\n＝＋－＠"))


def test_joiners_and_spaces_stay() -> None:
    name = "a\u00a0b\u3000c \u202f5 \u0645\u06cc\u200c\u062e 👩\u200d🔬.png"
    assert printable(name) == name
    assert display_width("a\u200d") == 1
