"""`cnn predict` acting on predictions: --sort-into, --append, --probs, --dry-run."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_program import Inside
from mpiexec import mpiexec, needs_mpi, together

BROKEN = "cnn: photos/broken.png: not an image Pillow can read.\n"
GONE = "".join(
    f"cnn: photos/dark/{number}.png: cannot be read. Got no such file or directory.\n"
    for number in range(2)
)


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
    assert outcome.err == BROKEN
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
def test_dry_run_of_what_a_file_lacks(cnn: Inside, trained: Path, name: str) -> None:
    line = ("predict", "--ckpt", trained, "--append", name)
    assert cnn(*line, "photos/dark/0.png").code == 0
    before = files(".")
    outcome = cnn(*line, "photos/dark", "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "photos/dark/0.png" not in outcome.out
    assert "photos/dark/1.png" in outcome.out
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
    again = cnn(*line)  # only the unreadable one is tried again
    assert (again.code, again.out, again.err) == (4, "", BROKEN)
    assert Path(name).read_text() == whole
    shutil.copy("photos/grey/0.png", "photos/dark/0.png")  # another image with the same name
    shutil.copy("photos/grey/1.png", "photos/broken.png")
    assert cnn(*line).code == 0
    whole = Path(name).read_text()
    assert len(whole.splitlines()) == 12 + name.endswith("csv")
    again = cnn(*line)
    assert (again.code, again.out, again.err) == (0, "", "")
    assert Path(name).read_text() == whole


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_missing_image_is_tried_again(cnn: Inside, trained: Path, name: str) -> None:
    """As on a drive that is mounted later: its files are older than their errors."""
    Path("list.txt").write_text("photos/dark/0.png\nphotos/dark/1.png\n")
    line = ("predict", "--from-file", "list.txt", "--ckpt", trained, "--append", name)
    found = []
    for folder, code, said in (
        ("dark", 0, ""),
        ("away", 4, GONE),
        ("away", 4, GONE),
        ("dark", 0, ""),
    ):
        if folder == "away":
            shutil.move("photos/dark", "photos/away")
        outcome = cnn(*line)
        if folder == "away":
            shutil.move("photos/away", "photos/dark")
        assert (outcome.code, outcome.out, outcome.err) == (code, "", said)
        found.append(len(Path(name).read_text().splitlines()) - name.endswith("csv"))
    assert found == [2, 4, 4, 6]


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_a_new_archive_holds_new_images(cnn: Inside, trained: Path, kind: str) -> None:
    def pack(folder: str, time: float) -> str:
        path = shutil.make_archive("pictures", kind, folder)
        os.utime(path, (time, time))
        return Path(path).name

    def rows() -> list[Any]:
        return list(map(json.loads, Path("out.jsonl").read_text().splitlines()))

    archive = pack("photos/dark", 1000)
    line = ("predict", archive, "--ckpt", trained, "--append", "out.jsonl")
    size = Path(archive).stat().st_size
    for _ in range(2):
        outcome = cnn(*line)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
        stamps = [(row["path"], row["size"], row["time"]) for row in rows()]
        assert stamps == [(f"{archive}/{number}.png", size, 1000) for number in range(3)]
    pack("photos/bright", 2000)  # other images with the same names
    assert cnn(*line).code == 0
    assert [row["path"] for row in rows()] == [path for path, _, _ in stamps] * 2
    assert [row["label"] for row in rows()[:3]] != [row["label"] for row in rows()[3:]]
    without = [row | {"size": None, "time": None} for row in rows()]  # as earlier versions wrote
    Path("out.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in without))
    assert [cnn(*line).code, len(rows()), cnn(*line).code, len(rows())] == [0, 9, 0, 9]


def test_a_picture_whose_row_is_there_is_still_put_into_its_place(
    cnn: Inside, trained: Path
) -> None:
    """As after a kill between the two steps."""
    line = ("predict", "photos", "--ckpt", trained, "--append", "out.csv")
    assert cnn(*line).code == 4
    before = Path("out.csv").read_bytes()
    assert cnn(*line, "--sort-into", "out", "--move").code == 4
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
