"""`cnn data check`: output and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_program import Inside, process
from data_samples import make_folders, photograph, save_gray
from PIL import Image

CLEAN = """\
part  classes  images  fewest  most
----  -------  ------  ------  ----
all         2      20  10      10

nothing found
"""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes without problems, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        save_gray(Path("photos", "ab"[number % 2], f"{number}.png"), seed=number, side=8)
    return Path("photos")


def test_nothing_found(cnn: Inside, photos: Path) -> None:
    for arguments in ([], ["--strict"], ["--threads", 1]):
        outcome = cnn("data", "check", photos, *arguments)
        assert (outcome.code, outcome.out, outcome.err) == (0, CLEAN, "")


def test_a_list_of_several_labels_is_said(cnn: Inside, photos: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    rows = [f"{file},{int(file.parent.name == 'a')},1\n" for file in files]
    Path("marks.csv").write_text("path,a,all\n" + "".join(rows))
    rows = [f"{file},{file.parent.name}{'|all' * (i % 2)}\n" for i, file in enumerate(files)]
    Path("texts.csv").write_text("path,label\n" + "".join(rows))
    note = "cnn: {}: an image may have several labels{}\n"
    outcome = cnn("data", "check", "marks.csv")
    assert (outcome.code, outcome.err) == (0, note.format("marks.csv", ""))
    outcome = cnn("data", "check", "texts.csv")
    instead = "; --labels single takes each text as one class"
    assert (outcome.code, outcome.err) == (0, note.format("texts.csv", instead))
    assert cnn("data", "check", "texts.csv", "--labels", "single").code == 0


def test_findings_are_warnings(cnn: Inside, photos: Path) -> None:
    shutil.copy(photos / "a/0.png", photos / "b/0 copy.png")
    (photos / "a/cut.png").write_bytes((photos / "a/2.png").read_bytes()[:60])
    outcome = cnn("data", "check", photos)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "part  classes  images  fewest  most\n"
        "----  -------  ------  ------  ------\n"
        "all         2      21  10 (a)  11 (b)\n"
        "\n"
        "unreadable images, which training would skip: 1\n"
        "  photos/a/cut.png: truncated or damaged\n"
        "\n"
        "the same file in two classes: 1\n"
        "  photos/a/0.png and photos/b/0 copy.png\n"
    )


@pytest.mark.parametrize("header", ["photos/a/0.png,a", "sep=;", "path|label", "where,is_a"])
def test_a_list_without_a_column_of_paths(cnn: Inside, photos: Path, header: str) -> None:
    Path("list.csv").write_text(f"{header}\nphotos/a/1.png,a\nphotos/b/1.png,b\n")
    rule = (
        "list.csv:1: must have a column for the path, headed path, file, filename, file_name, "
        "image or image_path, or as data.columns.path says."
    )
    for command in (("data", "check", "list.csv"), ("init", "list.csv", "--output", "a.yaml")):
        outcome = cnn(*command)
        assert (outcome.code, outcome.out) == (4, "")
        assert outcome.err.startswith(f"cnn: {rule} Got ")
        assert outcome.err.count("\n") == 1


def test_strict(cnn: Inside, photos: Path) -> None:
    (photos / "a/notes.txt").touch()
    outcome = cnn("data", "check", photos, "--strict")
    assert outcome.out.endswith("extension of an image: 1\n  photos/a/notes.txt\n")
    assert (outcome.code, outcome.err) == (
        4,
        "cnn: 1 .txt left out\ncnn: photos: must have no findings with --strict. Got 1.\n",
    )


def test_json(cnn: Inside, photos: Path) -> None:
    for name in ("notes.txt", "more.txt", "still.txt", "last.txt"):
        (photos / "a" / name).touch()
    outcome = cnn("data", "check", photos, "--json")
    assert (outcome.code, outcome.err) == (0, "cnn: 4 .txt left out\n")
    assert outcome.out.count("\n") == 1
    document = json.loads(outcome.out)
    assert [one["paths"] for one in document.pop("findings")] == [
        [f"photos/a/{name}.txt"] for name in ("last", "more", "notes", "still")
    ]
    assert document == {
        "root": "photos",
        "images": 20,
        "parts": {"all": {"a": 10, "b": 10}},
        "remarks": ["4 .txt left out"],
        "error": None,
        "near": None,
    }


def test_what_cannot_be_trained_on(cnn: Inside, photos: Path) -> None:
    (photos / "c").mkdir()
    error = "photos/c: must hold at least one image. Got none."
    outcome = cnn("data", "check", photos)
    assert outcome.out.endswith("\nclasses without a readable image: 1\n  photos/c\n")
    assert (outcome.code, outcome.err) == (4, f"cnn: {error}\n")
    outcome = cnn("data", "check", photos, "--json", "--strict")
    assert json.loads(outcome.out)["error"] == error
    assert (outcome.code, outcome.err) == (4, f"cnn: {error}\n")


@pytest.mark.parametrize("part", ["", "train"])
def test_a_class_with_damaged_images_only(cnn: Inside, photos: Path, part: str) -> None:
    """A training stops at it as well, after its first epoch."""
    if part:
        shutil.copytree(photos, photos.parent / "parts/train")
        shutil.copytree(photos, photos.parent / "parts/val")
        photos = photos.parent / "parts"
    for file in (photos / part / "a").iterdir():
        file.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    outcome = cnn("data", "check", photos)
    place = photos / part / "a"
    line = f"cnn: {place}: must hold a readable image. Got 10 that cannot.\n"
    assert (outcome.code, outcome.err) == (4, line)


def test_a_class_with_damaged_validation_images_only(cnn: Inside, photos: Path) -> None:
    """A training goes on."""
    shutil.copytree(photos, photos.parent / "parts/train")
    shutil.copytree(photos, photos.parent / "parts/val")
    for file in (photos.parent / "parts/val/a").iterdir():
        file.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    outcome = cnn("data", "check", photos.parent / "parts")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    ("folder", "got"),
    [("nope", "no such folder"), ("photos/a", "no sub-folder")],
)
def test_no_folder_of_classes(cnn: Inside, photos: Path, folder: str, got: str) -> None:
    outcome = cnn("data", "check", folder)
    rule = "must be a folder with a sub-folder of images for each class"
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == f"cnn: {folder}: {rule}. Got {got}.\n"


def test_a_file_that_is_no_data(cnn: Inside, photos: Path) -> None:
    outcome = cnn("data", "check", "photos/a/0.png")
    rule = (
        "must be a folder with a sub-folder of images for each class, or a list (.csv, .tsv, "
        ".txt), an archive (.zip, .tar, .tar.gz) or shards (s-{00..12}.tar)"
    )
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == f"cnn: photos/a/0.png: {rule}. Got another file.\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data", "data: must be followed by check, doubt or preview. Got nothing."),
        ("data chek x", "chek: no such command. Did you mean 'check'?"),
        ("data --strict", "--strict: no such option of data."),
        ("data check", "data check: needs DIR. Got nothing."),
        ("data check a b", "data check: takes no more arguments. Got b."),
        ("data check a --strct", "--strct: no such option of data check. Did you mean '--strict'?"),
        ("data check a --threads 0", "--threads: must be a whole number above 0. Got '0'."),
        ("data preview", "data preview: needs CONFIG. Got nothing."),
        ("data preview c.yaml --rows 0", "--rows: must be a whole number above 0. Got '0'."),
        ("data preview c.yaml --columns 51", "--columns: must be at most 50. Got '51'."),
        ("data preview c.yaml --output x.jpg", "--output: must be a .png file. Got 'x.jpg'."),
        ("data preview c.yaml --epoch 0", "--epoch: must be a whole number above 0. Got '0'."),
        (
            "data preview c.yaml hflip",
            "hflip: an override is written KEY=VALUE, such as train.epochs=3.",
        ),
        (
            "data preview c.yaml --colums 3",
            "--colums: no such option of data preview. Did you mean '--columns'?",
        ),
    ],
)
def test_wrong_command_lines(cnn: Inside, line: str, message: str) -> None:
    outcome = cnn(*line.split())
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")


def test_help(cnn: Inside) -> None:
    outcome = cnn("data", "--help")
    assert outcome.code == 0
    assert "\n  check    Check images before training.\n" in outcome.out
    assert "\n  preview  Draw augmented images exactly as training sees them" in outcome.out
    outcome = cnn("data", "check", "--help")
    assert outcome.code == 0
    assert outcome.out.startswith("Usage: cnn data check DIR [OPTIONS]\n")
    assert "\n  cnn data check photos --json\n" in outcome.out.replace("    cnn", "  cnn")


def test_odd_names(photos: Path) -> None:
    """A class and an image whose names are not UTF-8 or contain line ends."""
    make_folders(photos, {"x\ny": 0})
    (photos / "x\ny" / "\udcff.png").write_bytes(b"x")
    outcome = process("data", "check", photos)
    assert outcome.code == 4
    assert outcome.err == "cnn: photos/x\\ny: must hold a readable image. Got 1 that cannot.\n"
    assert "  photos/x\\ny/\\udcff.png: not an image Pillow can read\n" in outcome.out
    assert "  photos/x\\ny\n" in outcome.out
    document = json.loads(process("data", "check", photos, "--json").out)
    assert document["findings"][0]["paths"] == ["photos/x\ny/\udcff.png"]


def test_near_copies(cnn: Inside, photos: Path) -> None:
    whole = photograph(1)
    whole.save(photos / "a/whole.png")
    whole.resize((90, 80)).save(photos / "b/small.png")
    Image.new("L", (9, 9), 7).save(photos / "a/flat.png")
    for arguments in (["--near", photos], [photos, "--near"], [photos, "--near", "8", "--strict"]):
        outcome = cnn("data", "check", *arguments)
        assert outcome.out.endswith(
            "\nimages that look the same in two classes: 1\n"
            "  photos/a/whole.png and photos/b/small.png: distance 2\n"
            "\nimages with too little contrast to compare: 1\n"
        )
        assert outcome.code == (4 if "--strict" in arguments else 0)
    document = json.loads(cnn("data", "check", photos, "--near=3", "--json").out)
    assert document["near"] == {"distance": 3, "compared": 22, "flat": 1}
    assert [one["kind"] for one in document["findings"]] == ["near_two_classes"]
    assert json.loads(cnn("data", "check", photos, "--json").out)["near"] is None


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("13", "must be at most 12. Got '13'"),
        ("-1", "must be a whole number, 0 or more. Got '-1'"),
        ("1.5", "must be a whole number, 0 or more. Got '1.5'"),
    ],
)
def test_distances(cnn: Inside, photos: Path, value: str, rule: str) -> None:
    for given in (["--near", value], [f"--near={value}"]):
        outcome = cnn("data", "check", photos, *given)
        assert (outcome.code, outcome.err) == (2, f"cnn: --near: {rule}.\n")
