"""Real-world folders: usable images are used, others reported, nothing hangs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import COMMAND, Outcome
from data_samples import encoded, noise
from hardship import Field, assert_same_run, at_most, cnn, contents, make_field, metrics_of
from patience import PATIENCE
from PIL import Image

from cnn_cli.data.decode import load_image
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.inference.evaluate import evaluate
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training import trainer
from cnn_cli.training.learner import Learner

RGB, GRAY = Image.fromarray(noise(9, 12, 3)), Image.fromarray(noise(9, 12, 1))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=6, val=3, epochs=2)


@pytest.fixture(scope="module")
def trained(field: Field) -> Path:
    out = field.config.parent / "run"
    assert cnn("train", field.config, "--out", out, "--threads", 1).code == 0
    return out


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that declares a size but contains almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(RGB, "JPEG", exif=exif)


GOOD: dict[bytes, bytes] = {
    b"-rf.png": encoded(GRAY),
    b"1x1.png": encoded(GRAY.resize((1, 1))),
    b"16 bit.png": encoded(Image.fromarray(noise(9, 9, 1).astype(np.uint16) * 257)),
    b"animated.gif": encoded(
        RGB.convert("P"), "GIF", save_all=True, append_images=[GRAY.convert("P")] * 3
    ),
    b"cmyk.jpg": encoded(RGB.convert("CMYK"), "JPEG"),
    b"line\nbreak.png": encoded(GRAY),
    b"no-utf8-\xff\xfe.png": encoded(GRAY),
    b"one-row.png": encoded(Image.fromarray(noise(1, 3000, 1))),
    b"rotated.jpg": rotated(),
    b"tall.png": encoded(Image.fromarray(noise(20_000, 2, 1))),
    b"wide.png": encoded(Image.fromarray(noise(3, 20_000, 3))),
}
BAD: dict[bytes, tuple[bytes, str]] = {
    b"bomb.png": (
        png_of(50_000, 50_000),
        "has more pixels than Pillow's limit of 89478485: 2500000000 pixels",
    ),
    b"cut.jpg": (encoded(RGB, "JPEG")[:300], "truncated or damaged"),
    b"empty.png": (b"", "not an image Pillow can read"),
    b"half.png": (encoded(RGB)[:200], "truncated or damaged"),
    b"program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ""),
    b"strip.png": (png_of(80_000_000, 1), "truncated or damaged"),
    b"text.png": (b"dear diary\n", "not an image Pillow can read"),
}


def fill(folder: Path) -> None:
    """Create every kind of file in a folder."""
    place = os.fsencode(folder) + b"/"
    for name, content in GOOD.items():
        Path(os.fsdecode(place + name)).write_bytes(content)
    for name, (content, _) in BAD.items():
        Path(os.fsdecode(place + name)).write_bytes(content)
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "loop").symlink_to(".")
    (folder / "up").symlink_to(folder.parent)
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    (folder / ".hidden").mkdir()
    (folder / ".hidden/a.png").write_bytes(b"x")
    os.mkfifo(folder / "pipe.jpg")
    here = os.getcwd()
    os.chdir(folder)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.png")
    finally:
        os.chdir(here)


BAD_NAMES = {os.fsdecode(name) for name in BAD if not name.endswith(b".eps")} | {
    "dangling.png",
    "itself.png",
}


def test_predicting_a_folder_of_everything(trained: Path, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    fill(zoo)
    (zoo / "up").unlink()  # otherwise the parent folder is read as well, as intended
    before = contents(zoo)
    with at_most(20):
        outcome = cnn("predict", zoo, "--ckpt", trained, "--format", "jsonl")
    assert outcome.code == 4
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    paths = [row["path"] for row in rows]
    assert paths == sorted(paths)
    names = {path.removeprefix(f"{zoo}/"): row for path, row in zip(paths, rows, strict=True)}
    good = {os.fsdecode(name) for name in GOOD}
    assert names.keys() == good | BAD_NAMES
    assert {name for name, row in names.items() if "error" in row} == BAD_NAMES
    for name, (_, message) in BAD.items():
        if message:
            assert names[os.fsdecode(name)]["error"] == message
    left_out, *bad = outcome.err.splitlines()
    assert left_out == "cnn: 1 .eps left out"
    assert len(bad) == len(BAD_NAMES)
    assert all(line.startswith(f"cnn: {zoo}/") for line in bad)
    assert contents(zoo) == before


def test_training_on_a_folder_of_everything(field: Field, tmp_path: Path) -> None:
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    for part in ("train", "val"):
        fill(pictures / part / "dark")
    out = tmp_path / "run"
    with at_most(20):
        line = ("train", field.config, "--data", pictures, "--out", out)
        outcome = cnn(*line, "data.channels=3")
    assert outcome.code == 0, outcome
    listed = (out / "bad_files.txt").read_text().splitlines()
    found = {line.split("\t")[0].removeprefix(str(pictures)) for line in listed}
    assert {f"/train/dark/{name}" for name in BAD_NAMES} <= found
    assert {f"/val/dark/{name}" for name in BAD_NAMES} <= found
    assert len(load_checkpoint(out / "last.npz").meta["bad_files"]) == len(listed)


@pytest.mark.parametrize("mode", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (1, 1), (65_000, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_take_no_more_memory_than_other_images(
    mode: str, size: tuple[int, int], channels: int
) -> None:
    """At 224 pixels, the long side of a strip would be scaled to millions."""
    image = Image.new("L", size, 100)
    pre = Preprocess(224, 224, channels, mode)  # type: ignore[arg-type]  # one of three words
    with at_most(10):
        pixels = load_image(encoded(image), pre)
    assert pixels.shape == (224, 224, channels)
    assert set(np.unique(pixels)) <= {100, 114}


def test_a_pipe_that_nobody_writes_into_can_be_left(trained: Path, tmp_path: Path) -> None:
    """A typed pipe is read, as `<(…)` is; a user can interrupt the wait."""
    fifo = tmp_path / "x.jpg"
    os.mkfifo(fifo)
    line = [*COMMAND, "predict", str(fifo), "--ckpt", str(trained)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        writer = None
        while writer is None:
            assert process.poll() is None
            with suppress(OSError):  # until it is opened for reading
                writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        os.close(writer)
    assert process.returncode == 143


def test_streams_without_an_end(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `< /dev/zero`: they take no more memory than a very large image."""
    monkeypatch.setattr("cnn_cli.data.decode.MOST_BYTES", 1000)
    line = ("predict", "--ckpt", trained)
    outcome = cnn(*line, "-", stdin=bytes(1001))
    assert (outcome.code, outcome.err) == (4, "cnn: -: must have at most 1,000 bytes.\n")
    fifo = tmp_path / "x.png"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(bytes(1001),), daemon=True).start()
    outcome = cnn(*line, fifo)
    assert (outcome.code, outcome.err) == (4, f"cnn: {fifo}: must have at most 1,000 bytes.\n")
    for options in ([], ["-0"]):
        outcome = cnn(*line, "--from-file", "-", *options, stdin=b"a" * (2**20 + 1))
        rule = "must hold paths of less than 1,048,576 bytes."
        assert outcome == Outcome(4, "", f"cnn: --from-file: {rule}\n")


def test_pipes_and_devices_are_no_checkpoints(field: Field, tmp_path: Path) -> None:
    """No command waits for a writer."""
    os.mkfifo(tmp_path / "best.npz")
    picture = field.pictures / "val/dark/0.png"
    for path in (tmp_path / "best.npz", tmp_path, "/dev/zero"):
        with at_most(10):
            outcome = cnn("predict", picture, "--ckpt", path)
        place = tmp_path / "best.npz" if path == tmp_path else path
        assert outcome == Outcome(4, "", f"cnn: {place}: must be a regular file.\n")


def test_images_that_vanish(
    field: Field, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If some vanish, they are skipped and listed, in later sessions too."""
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    out = tmp_path / "run"
    gone = [pictures / "train/dark/1.png", pictures / "val/bright/2.png"]

    def take_away(*arguments: object) -> None:
        for path in gone:
            path.unlink(missing_ok=True)

    monkeypatch.setattr(Learner, "check", take_away)
    line = ("train", field.config, "--data", pictures, "--out", out, "data.cache=none", "--json")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err.count("epoch ")) == (0, 2)
    listed = (out / "bad_files.txt").read_text()
    assert listed == "".join(
        f"{path}\tcannot be read: no such file or directory\n" for path in gone
    )
    for path in gone:
        shutil.copy(field.pictures / path.relative_to(pictures), path)
    monkeypatch.undo()
    assert cnn(*line, "--resume", "--epochs", 3).code == 0
    assert (out / "bad_files.txt").read_text() == listed


def test_all_images_vanish(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unmounted disk: an epoch without images is not counted."""
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    end_epoch = trainer.Trainer._end_epoch

    def end_and_unmount(self: trainer.Trainer) -> None:
        end_epoch(self)
        pictures.rename(elsewhere)

    line = ("train", field.config, "--data", pictures, "data.cache=none", "--resume")
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_end_epoch", end_and_unmount)
        outcome = cnn(*line, "--out", out, "--quiet")
    rule = "must hold a readable image. Got 18 that cannot, such as"
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith(f"cnn: {pictures}: {rule} {pictures}/train/")
    assert outcome.err.endswith(".png: cannot be read. Got no such file or directory.\n")
    assert load_checkpoint(out / "last.npz").meta["epoch"] == 1
    outcome = cnn(*line, "--out", out, "--quiet")
    assert (outcome.code, outcome.err.count("\n")) == (4, 1)
    elsewhere.rename(pictures)
    assert cnn(*line, "--out", out).code == 0
    assert cnn(*line, "--out", tmp_path / "whole").code == 0
    assert_same_run(tmp_path / "whole", out)


@pytest.mark.parametrize("mean", ["auto", "0.5"])
def test_a_class_without_an_image_that_can_be_read(field: Field, tmp_path: Path, mean: str) -> None:
    """Otherwise nobody would notice that the network never saw the class. The error comes before
    the first step if the images are measured, else at the end of the first epoch.
    """
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    out = tmp_path / "run"
    for path in (pictures / "train/dark").iterdir():
        path.write_bytes(b"no image")
    std = "auto" if mean == "auto" else "0.25"
    line = ("train", field.config, "--data", pictures, "--out", out)
    options = ("--quiet", f"data.mean={mean}", f"data.std={std}")
    dark, why = pictures / "train/dark", "not an image Pillow can read"
    rule = f"must hold a readable image. Got 6 that cannot, such as {dark}/0.png: {why}."
    assert cnn(*line, *options) == Outcome(4, "", f"cnn: {dark}: {rule}\n")
    assert not (out / "last.npz").exists()
    shutil.copy(field.pictures / "train/dark/0.png", pictures / "train/dark/0.png")
    assert cnn(*line, *options, "--overwrite") == Outcome(0, "", "")
    assert (out / "bad_files.txt").read_text().count("\n") == 5


def test_a_class_vanishes(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unmounted part: an epoch without the class is not counted."""
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    out, end_epoch = tmp_path / "run", trainer.Trainer._end_epoch

    def end_and_take_away(self: trainer.Trainer) -> None:
        end_epoch(self)
        for path in (pictures / "train/dark").iterdir():
            path.unlink()

    line = ("train", field.config, "--data", pictures, "data.cache=none", "--resume", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_end_epoch", end_and_take_away)
        outcome = cnn(*line, "--out", out)
    dark = pictures / "train/dark"
    rule = f"must hold a readable image. Got 6 that cannot, such as {dark}/0.png: cannot be read"
    gone = "no such file or directory"
    assert outcome == Outcome(4, "", f"cnn: {dark}: {rule}. Got {gone}.\n")
    assert load_checkpoint(out / "last.npz").meta["epoch"] == 1
    shutil.copytree(field.pictures / "train/dark", pictures / "train/dark", dirs_exist_ok=True)
    assert cnn(*line, "--out", out).code == 0
    assert cnn(*line, "--out", tmp_path / "whole").code == 0
    assert_same_run(tmp_path / "whole", out)


def test_the_validation_images_vanish(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that could not be measured is not the best one."""
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    out = tmp_path / "run"

    def evaluate_and_unmount(*arguments: Any, **more: Any) -> object:
        result = evaluate(*arguments, **more)
        for path in (pictures / "val").rglob("*.png"):
            path.unlink()
        return result

    monkeypatch.setattr("cnn_cli.training.validating.evaluate", evaluate_and_unmount)
    line = ("train", field.config, "--data", pictures, "--out", out, "data.cache=none", "--json")
    outcome = cnn(*line)
    assert outcome.code == 0
    assert json.loads(outcome.out)["best_epoch"] == 1
    assert [bool(row["val_top1"]) for row in metrics_of(out)] == [True, False]
    assert load_checkpoint(out / "best.npz").meta["epoch"] == 1


def test_the_run_folder_vanishes(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def evaluate_and_delete(*arguments: Any, **more: Any) -> object:
        shutil.rmtree(out)
        return evaluate(*arguments, **more)

    monkeypatch.setattr("cnn_cli.training.validating.evaluate", evaluate_and_delete)
    outcome = cnn("train", field.config, "--out", out, "--quiet")
    line = f"cnn: {out}/best.npz: cannot be written. Got no such file or directory.\n"
    assert outcome == Outcome(4, "", line)


def test_the_same_class_under_two_cases(field: Field, tmp_path: Path) -> None:
    """They are two classes if the file system distinguishes them; evaluation agrees."""
    pictures = shutil.copytree(field.pictures, tmp_path / "pictures")
    (pictures / "train/Dark").mkdir()
    if (pictures / "train/dark/0.png").samefile(pictures / "train/Dark") or len(
        list((pictures / "train").iterdir())
    ) != 4:
        pytest.skip("this file system does not tell cases apart")
    (pictures / "train/dark/0.png").rename(pictures / "train/Dark/0.png")
    line = ("train", field.config, "--data", pictures, "--out", tmp_path / "run", "--quiet")
    assert cnn(*line) == Outcome(0, "", "")
    classes = load_checkpoint(tmp_path / "run/last.npz").meta["classes"]
    assert classes == ["Dark", "bright", "dark", "striped"]
    (pictures / "val/bright").rename(pictures / "val/Bright")
    outcome = cnn(*line, "--overwrite")
    rule = "must be a class that train has. Did you mean 'bright'?"
    assert outcome == Outcome(4, "", f"cnn: {pictures}/val/Bright: {rule}\n")


@pytest.mark.parametrize("split", ["0", "0.5"])
def test_one_image_a_class(field: Field, tmp_path: Path, split: str) -> None:
    for name in ("a", "b"):
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(field.pictures / "val/dark/0.png", tmp_path / "few" / name / "x.png")
    line = ("train", field.config, "--data", tmp_path / "few", "--out", tmp_path / "run")
    assert cnn(*line, "--quiet", f"data.val_split={split}") == Outcome(0, "", "")
    assert [row["val_top1"] for row in metrics_of(tmp_path / "run")] == ["", ""]


def test_one_image_a_batch_where_batchnorm_would_train_on_nothing(
    field: Field, tmp_path: Path
) -> None:
    layers = "[global_avgpool, batchnorm, {linear: classes}]"
    line = ("train", field.config, "--out", tmp_path / "run", f"model.layers={layers}", "-b", 1)
    rule = "must be at least 2 where a batchnorm sees one value per channel of an image. Got 1."
    for dry in ([], ["--dry-run"]):
        outcome = cnn(*line, *dry)
        assert outcome == Outcome(3, "", f"cnn: {field.config}: train.batch_size: {rule}\n")
    assert not (tmp_path / "run").exists()


def test_an_error_of_an_image_is_one_line() -> None:
    """Whatever its name contains."""
    error = ImageError("a\nb\x1b[2J\udcff.png", "truncated or damaged")
    assert error.line() == "a\\nb\\x1b[2J\\udcff.png: truncated or damaged."


@pytest.mark.soak
def test_a_hundred_thousand_files(field: Field, trained: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    for name in ("bright", "dark"):
        (many / name).mkdir(parents=True)
        source = (field.pictures / "val" / name / "0.png").read_bytes()
        for i in range(50_000):
            if i % 10_000 == 0:  # a file has at most 65,000 hard links
                first = many / name / f"{i:06}.png"
                first.write_bytes(source)
            else:
                os.link(first, many / name / f"{i:06}.png")
    begin = time.monotonic()
    outcome = cnn("train", field.config, "--data", many, "--dry-run", "--json", "data.val_split=0")
    plan = json.loads(outcome.out)
    assert (outcome.code, plan["train_images"]) == (0, 100_000)
    listed = time.monotonic()
    line = ("train", field.config, "--data", many, "--out", tmp_path / "run", "--quiet")
    assert cnn(*line, "--epochs", 1, "-b", 512) == Outcome(0, "", "")
    trained_at = time.monotonic()
    outcome = cnn("predict", many, "--ckpt", trained, "--output", tmp_path / "labels.tsv")
    assert outcome == Outcome(0, "", "")
    assert (tmp_path / "labels.tsv").read_bytes().count(b"\n") == 100_000
    print(
        f"100,000 files: listed in {listed - begin:.1f} s, an epoch in {trained_at - listed:.1f} s,"
        f" predicted in {time.monotonic() - trained_at:.1f} s"
    )
