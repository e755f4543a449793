"""`cnn predict` acting on predictions: --sort-into, --append, --probs, --dry-run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_program import Inside
from mpiexec import mpiexec, needs_mpi, together


@pytest.fixture(autouse=True)
def _pictures(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with `photos`: nine images with three names, and a file that is not an
    image.
    """
    shutil.copytree(project / "photos/val", tmp_path / "photos")
    for path in (tmp_path / "photos").glob("*/3.png"):
        path.unlink()
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)


def labels(cnn: Inside, trained: Path) -> dict[str, str]:
    out = cnn("predict", "photos", "--ckpt", trained).out
    return {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()}


def files(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["", "--copy", "--link", "--move"])
def test_pictures_go_to_the_folders_of_their_classes(cnn: Inside, trained: Path, how: str) -> None:
    expected = labels(cnn, trained)
    before = {path: Path(path).read_bytes() for path in files("photos")}
    line = ("predict", "photos", "--ckpt", trained, "--sort-into", "photos/sorted")
    outcome = cnn(*line, "--format", "jsonl", *filter(None, [how]))
    assert outcome.code == 4
    assert outcome.err == "cnn: photos/broken.png: not an image Pillow can read.\n"
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    for row in rows:
        label = expected.get(row["path"], "_unreadable")
        assert Path(row["file"]).parent == Path("photos/sorted") / label
        assert Path(row["file"]).read_bytes() == before[row["path"]]
        assert Path(row["path"]).exists() == (how != "--move")
    assert files("photos/sorted") == sorted(row["file"] for row in rows)
    assert len(rows) == 10
    again = cnn(*line, *filter(None, [how]))  # sorted images are not sorted again
    assert again.code == (0 if how == "--move" else 4)
    assert files("photos/sorted") == sorted(row["file"] for row in rows)


def test_refused_ones_and_those_of_a_class_again(cnn: Inside, trained: Path) -> None:
    line = ("predict", "photos/dark", "--ckpt", trained, "--sort-into", "out")
    assert cnn(*line, "--min-prob", 1).code == 0
    assert files("out") == [f"out/_unknown/{number}.png" for number in range(3)]
    assert cnn("predict", "out/_unknown", *line[2:], "--move").code == 0
    assert not files("out/_unknown")
    assert len(files("out")) == 3


def test_dry_run_changes_nothing(cnn: Inside, trained: Path) -> None:
    before = files(".")
    line = ("predict", "photos/dark", "--ckpt", trained, "--dry-run")
    outcome = cnn(*line, "--sort-into", "out", "--move")
    assert outcome.code == 0
    for number, told in enumerate(outcome.out.splitlines()):
        path, label, _, file = told.split("\t")
        assert (path, file) == (f"photos/dark/{number}.png", f"out/{label}/{number}.png")
    outcome = cnn(*line, "--append", "out.csv")
    rows = list(csv.reader(outcome.out.splitlines()))
    assert rows[0] == ["path", "label", "prob", "error", "size", "time"]
    assert [row[0] for row in rows[1:]] == [f"photos/dark/{number}.png" for number in range(3)]
    assert files(".") == before


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_append_passes_over_what_the_file_holds(cnn: Inside, trained: Path, name: str) -> None:
    line = ("predict", "photos", "--ckpt", trained, "--append", name)
    assert cnn("predict", "photos/dark", *line[2:]).code == 0
    first = Path(name).read_text()
    outcome = cnn(*line)
    assert (outcome.code, outcome.out) == (4, "")
    whole = Path(name).read_text()
    assert whole.startswith(first)
    assert len(whole.splitlines()) == 10 + name.endswith("csv")
    again = cnn(*line)
    assert (again.code, again.out, again.err) == (0, "", "")
    assert Path(name).read_text() == whole
    shutil.copy("photos/grey/0.png", "photos/dark/0.png")  # another image with the same name
    assert cnn(*line).code == 0
    assert len(Path(name).read_text().splitlines()) == 11 + name.endswith("csv")


def test_a_picture_whose_row_is_there_is_still_put_into_its_place(
    cnn: Inside, trained: Path
) -> None:
    """As after a kill between the two steps."""
    line = ("predict", "photos", "--ckpt", trained, "--append", "out.csv")
    assert cnn(*line).code == 4
    before = Path("out.csv").read_bytes()
    assert cnn(*line, "--sort-into", "out", "--move").code == 0
    assert Path("out.csv").read_bytes() == before
    assert files("photos") == []
    assert len(files("out")) == 10
    assert Path("out/_unreadable/broken.png").exists()


def test_all_probabilities(cnn: Inside, trained: Path) -> None:
    line = ("predict", "photos/dark/0.png", "--ckpt", trained, "--probs")
    (found,) = json.loads(cnn(*line, "--json").out)
    assert list(found["probs"]) == ["bright", "dark", "grey"]
    assert sum(found["probs"].values()) == pytest.approx(1, abs=1e-6)
    assert {each["label"]: each["prob"] for each in found["topk"]} == found["probs"]
    cells: list[Any] = cnn(*line).out.rstrip("\n").split("\t")
    numbers = [f"{prob:.6f}" for prob in found["probs"].values()]
    assert cells[3:] == numbers
    rows = list(csv.reader(cnn(*line, "--format", "csv", "--topk", 9).out.splitlines()))
    assert rows[0][4:] == [
        *(f"{name}_{number}" for number in (1, 2, 3) for name in ("label", "prob")),
        *("prob:bright", "prob:dark", "prob:grey"),
    ]
    assert rows[1][4] == found["label"]
    assert rows[1][10:] == numbers


@needs_mpi
def test_several_processes_act_once(trained: Path) -> None:
    line = ("predict", "photos", "--ckpt", trained, "-b", 2, "--append", "out.jsonl")
    outcome = mpiexec(together(2, *line, "--sort-into", "out", "--move"))
    assert (outcome.code, outcome.out) == (4, "")
    paths = [json.loads(row)["path"] for row in Path("out.jsonl").read_text().splitlines()]
    assert paths == sorted(paths)
    assert (len(paths), len(files("out")), files("photos")) == (10, 10, [])
