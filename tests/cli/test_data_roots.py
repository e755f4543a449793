"""Label lists, archives and shards on the command line, from `init` to `predict`, and resuming."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from cli_program import Inside

from cnn_cli.runs.checkpoint import load_checkpoint


@pytest.fixture
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the images in folders, lists, archives and shards."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project / "photos", "photos")
    shutil.copy(project / "tiny.yaml", "tiny.yaml")
    files = sorted(Path("photos").rglob("*.png"))
    rows = [f"{path},{path.parent.name},{path.parts[1]}\n" for path in files]
    Path("list.csv").write_text("file,label,set\n" + "".join(rows))
    classes = ["bright", "dark", "grey"]
    lines = [f"{path} {classes.index(path.parent.name)}\n" for path in files]
    Path("list.txt").write_text("".join(lines))
    with zipfile.ZipFile("photos.zip", "w") as made:
        for path in files:
            made.write(path)
    for number in range(2):
        with tarfile.open(f"s-{number}.tar", "w") as tar:
            for i, path in enumerate(files[number::2]):
                tar.add(path, f"{i:03}.png")
                label = path.parent.name.encode()
                info = tarfile.TarInfo(f"{i:03}.cls")
                info.size = len(label)
                tar.addfile(info, io.BytesIO(label))
    return tmp_path


@pytest.mark.parametrize("root", ["list.csv", "photos.zip"])
def test_training_is_that_of_the_folder(cnn: Inside, here: Path, root: str) -> None:
    for data in ("photos", root):
        outcome = cnn("train", "tiny.yaml", "--data", data, "--out", f"run-{data}", "--threads", 1)
        assert outcome.code == 0
    runs = [load_checkpoint(f"run-{data}/last.npz") for data in ("photos", root)]
    for name, weights in runs[0].groups["model"].items():
        assert (weights == runs[1].groups["model"][name]).all()


@pytest.mark.parametrize("root", ["list.csv", "list.txt", "photos.zip", "s-{0..1}.tar"])
def test_every_command_takes_it(cnn: Inside, here: Path, trained: Path, root: str) -> None:
    outcome = cnn("data", "check", root, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["images"] == 42
    outcome = cnn("eval", root, "--ckpt", trained, "--split", "all", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["images"] == 42
    outcome = cnn("train", "tiny.yaml", "--data", root, "--dry-run", "--json")
    assert json.loads(outcome.out)["train_images"] in (24, 36, 37, 38, 39)
    assert cnn("summary", "tiny.yaml", f"data.root={root}").code == 0


def test_init_writes_a_config_of_a_list(cnn: Inside, here: Path) -> None:
    outcome = cnn("init", "list.csv", "--budget", "1s", "--threads", 1)
    assert outcome.code == 0
    assert "cnn: list.csv: of its columns, path is 'file' and split is 'set'\n" in outcome.err
    assert "24 training images, 12 for validation, 6 for testing" in outcome.out
    assert 'root: "list.csv"' in Path("list.yaml").read_text()
    outcome = cnn("train", "list.yaml", "train.epochs=0", "--quiet")
    assert outcome.code == 0


def test_predict_reads_archives(cnn: Inside, here: Path, trained: Path) -> None:
    paths = ["photos/test/bright/0.png", "photos/test/grey"]
    expected = cnn("predict", *paths, "--ckpt", trained).out
    packed = cnn("predict", *(f"photos.zip/{path}" for path in paths), "--ckpt", trained)
    assert packed.code == 0
    assert packed.out == "".join(f"photos.zip/{line}\n" for line in expected.splitlines())
    assert cnn("predict", "photos.zip", "--ckpt", trained).out.count("\n") == 42
    outcome = cnn("predict", "photos.zip/photos/val", "--ckpt", trained, "--sort-into", "sorted")
    assert outcome.code == 4
    assert outcome.err.splitlines()[0] == (
        "cnn: photos.zip/photos/val/bright/0.png: cannot be copied. Got an image in an archive."
    )
    shutil.copy("tiny.yaml", "photos/notes.yaml")
    outcome = cnn("predict", "photos", "--ckpt", trained)
    assert (outcome.code, outcome.err) == (0, "cnn: 1 .yaml left out\n")


@pytest.mark.parametrize("root", ["list.csv", "photos.zip", "s-{0..1}.tar"])
def test_a_resumed_run_finds_its_pictures_where_they_were_moved_to(
    cnn: Inside, here: Path, root: str
) -> None:
    line = ("train", "tiny.yaml", "--out", "run", "--threads", 1, "--data")
    assert cnn(*line, root, "--epochs", 1).code == 0
    Path("moved").mkdir()
    for path in ("photos", "list.csv", "photos.zip", "s-0.tar", "s-1.tar"):
        shutil.move(path, f"moved/{path}")
    outcome = cnn(*line, f"moved/{root}", "--resume", "--epochs", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[-1].startswith("epoch 2/2")
    if root == "list.csv":
        place = Path("moved/list.csv")
        place.write_text(place.read_text().replace("photos/train/dark", "./photos/train/dark"))
        outcome = cnn(*line, f"moved/{root}", "--resume", "--epochs", 3)
        assert outcome.code == 0  # if the data root is unchanged, names may change


def test_what_is_wrong_is_one_line_and_4(cnn: Inside, here: Path, trained: Path) -> None:
    Path("list.csv").write_text("file,label\nphotos/gone.png,dark\n")
    Path("photos.zip").write_bytes(Path("photos.zip").read_bytes()[:999])
    gone = "list.csv:2: must name an existing file. Got 'photos/gone.png'."
    cut = "photos.zip: must be a zip archive. Got none, or a damaged one."
    for root, line in (("list.csv", gone), ("photos.zip", cut)):
        for command in (
            ("train", "tiny.yaml", "--data", root),
            ("eval", root, "--ckpt", trained),
            ("data", "check", root),
            ("init", root),
        ):
            outcome = cnn(*command)
            assert (outcome.code, outcome.out) == (4, "")
            place = f"{here}/" if command[0] == "train" else ""
            assert outcome.err == f"cnn: {place}{line}\n"
