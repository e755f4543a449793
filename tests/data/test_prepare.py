"""`data/prepare.py` on tiny data sets, and the included images."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import Pixels
from PIL import Image

DATA = Path(__file__).parents[2] / "data"
LABELS = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 1, 1, 9, 4]  # as at the beginning of Fashion-MNIST


def load() -> Any:
    spec = importlib.util.spec_from_file_location("prepare", DATA / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare"] = module
    spec.loader.exec_module(module)
    return module


prepare = load()


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def make_idx(folder: Path, labels: list[int], zipped: bool = False) -> tuple[Pixels, Pixels]:
    """Write a data set's files with `labels`, the last four for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 5, 6), np.uint8)
    parts = (("train", slice(None, -4)), ("t10k", slice(-4, None)))
    for prefix, part in parts:
        files = {
            f"{prefix}-images-idx3-ubyte": idx(images[part]),
            f"{prefix}-labels-idx1-ubyte": idx(np.array(labels[part], np.uint8)),
        }
        for name, data in files.items():
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return images[:-4], images[-4:]


def make_cifar10(folder: Path, labels: list[int], rows: int = 2) -> Pixels:
    """Write a package of 5 * rows training and rows test images of 32×32 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (6 * rows, 32, 32, 3), np.uint8)
    names = [*(f"data_batch_{i}.png" for i in range(1, 6)), "test_batch.png"]
    for name, batch in zip(names, images.reshape(6, rows, 1024, 3), strict=True):
        Image.fromarray(batch).save(folder / name)
    (folder / "train_lables.json").write_text(json.dumps(labels[: 5 * rows]))
    (folder / "test_lables.json").write_text(json.dumps(labels[5 * rows :]))
    return images


def written(out: Path) -> dict[str, Pixels]:
    return {str(path.relative_to(out)): np.array(Image.open(path)) for path in out.rglob("*.png")}


def problem(call: Any, *args: Any) -> str:
    with pytest.raises(prepare.PrepareError) as caught:
        call(*args)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx(tmp_path: Path, zipped: bool) -> None:
    images, tests = make_idx(tmp_path / "idx", LABELS, zipped)
    train, test = prepare.read_idx(tmp_path / "idx", counts=(10, 4))
    names = prepare.detect_names(np.array(LABELS))
    counts = prepare.write(tmp_path / "out", {"train": train, "val": test}, names)
    assert counts == {"train": 10, "val": 4}
    found = written(tmp_path / "out")
    assert len(found) == 14
    for i, (image, label) in enumerate(zip(images, LABELS[:10], strict=True)):
        np.testing.assert_array_equal(found[f"train/{names[label]}/{i}.png"], image)
    np.testing.assert_array_equal(found["val/trouser/0.png"], tests[0])
    np.testing.assert_array_equal(found["val/coat/3.png"], tests[3])
    assert sorted(path.name for path in (tmp_path / "out" / "val").iterdir()) == sorted(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["idx", "out"]


def test_names_are_told_by_the_labels() -> None:
    digits = np.array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3])
    assert prepare.detect_names(np.array(LABELS))[8:] == ["bag", "ankle-boot"]
    assert prepare.detect_names(digits) == list("0123456789")
    line = "the labels are of no known set: give --names fashion or digits."
    assert problem(prepare.detect_names, digits[1:]) == line
    for names in (*prepare.NAMES.values(), prepare.CIFAR10):
        assert len(set(names)) == 10
        assert not any("/" in name for name in names)


def test_cifar10(tmp_path: Path) -> None:
    labels = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 9]
    images = make_cifar10(tmp_path / "package", labels)
    train, test = prepare.read_cifar10(tmp_path / "package", batch=2, counts=(10, 2))
    out = tmp_path / "out"
    assert prepare.write(out, {"train": train, "test": test}, prepare.CIFAR10) == {
        "train": 10,
        "test": 2,
    }
    found = written(out)
    assert len(found) == 12
    np.testing.assert_array_equal(found["train/truck/0.png"], images[0])
    np.testing.assert_array_equal(found["train/automobile/8.png"], images[8])
    np.testing.assert_array_equal(found["test/truck/1.png"], images[11])


def test_the_first_of_each_class(tmp_path: Path) -> None:
    assert list(prepare.choose(np.array([1, 0, 1, 1, 0]), None)) == [0, 1, 2, 3, 4]
    assert list(prepare.choose(np.array([1, 0, 1, 1, 0]), 1)) == [0, 1]
    assert list(prepare.choose(np.array([1, 0, 1, 1, 0]), 2)) == [0, 1, 2, 4]
    make_idx(tmp_path, LABELS)
    train, test = prepare.read_idx(tmp_path, counts=(10, 4))
    parts = {"train": train, "test": test}
    assert prepare.write(tmp_path / "out", parts, prepare.FASHION, (2, 1)) == {
        "train": 9,
        "test": 3,
    }


def test_out_must_be_empty(tmp_path: Path) -> None:
    train, test = (prepare.Part([np.zeros((1, 2, 2), np.uint8)], np.array([0])) for _ in range(2))
    parts = {"train": train, "test": test}
    (tmp_path / "empty").mkdir()
    prepare.write(tmp_path / "empty", parts, ["a"])
    assert sorted(written(tmp_path / "empty")) == ["test/a/0.png", "train/a/0.png"]
    (tmp_path / "file").touch()
    for out in (tmp_path / "empty", tmp_path / "file"):
        line = f"{out}: must be a folder that is empty or not there yet."
        assert problem(prepare.write, out, parts, ["a"]) == line


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    train = prepare.Part([np.zeros((2, 2, 2), np.uint8)], np.array([0, 7]))
    with pytest.raises(IndexError):
        prepare.write(tmp_path / "out", {"train": train, "test": train}, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_idx_counts(tmp_path: Path) -> None:
    make_idx(tmp_path, LABELS)
    assert problem(prepare.read_idx, tmp_path) == (
        f"{tmp_path}: must hold 60000 images for train-labels-idx1-ubyte. Got 10."
    )
    assert problem(prepare.read_idx, tmp_path, (10, 5)) == (
        f"{tmp_path}: must hold 5 images for t10k-labels-idx1-ubyte. Got 4."
    )
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.zeros(7, np.uint8)))
    assert problem(prepare.read_idx, tmp_path, (10, 4)) == f"{path}: must hold 10 labels. Got 7."


def test_idx_labels(tmp_path: Path) -> None:
    make_idx(tmp_path, [*LABELS[:3], 10, *LABELS[4:]])
    assert problem(prepare.read_idx, tmp_path, (10, 4)) == (
        f"{tmp_path}/train-labels-idx1-ubyte: must hold labels from 0 to 9. Got 10 for image 3."
    )


def test_idx_files(tmp_path: Path) -> None:
    assert problem(prepare.read_idx, tmp_path) == (
        f"{tmp_path}: must hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz."
    )
    make_idx(tmp_path, LABELS)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert problem(prepare.read_idx, tmp_path) == (
        f"{path}: must hold 300 bytes, as its header says. Got 299."
    )
    path.write_bytes(b"\x00\x00\x08\x01" + whole[4:])
    rule = "must be an idx file of bytes in 3 dimensions"
    assert problem(prepare.read_idx, tmp_path) == f"{path}: {rule}. Got 00000801 at its start."
    path.write_bytes(b"")
    assert problem(prepare.read_idx, tmp_path) == f"{path}: {rule}. Got nothing at its start."
    path.unlink()
    path = path.with_suffix(".gz")
    path.write_bytes(gzip.compress(whole)[:-20])
    assert problem(prepare.read_idx, tmp_path).startswith(
        f"{path}: must be a whole gzip file. Got "
    )


def test_cifar10_files(tmp_path: Path) -> None:
    def line() -> str:
        return problem(prepare.read_cifar10, tmp_path, 2, (10, 2))

    make_cifar10(tmp_path, [0] * 12)
    labels, png = tmp_path / "train_lables.json", tmp_path / "data_batch_3.png"
    assert problem(prepare.read_cifar10, tmp_path) == (
        f"{tmp_path}/data_batch_1.png: must be 1024×10000 RGB pixels. Got 1024×2 RGB."
    )
    assert problem(prepare.read_cifar10, tmp_path, 2) == (
        f"{tmp_path}: must hold 50000 images for train_lables.json. Got 10."
    )
    labels.write_text("[0]")
    assert line() == f"{labels}: must hold 10 labels. Got 1."
    labels.write_text(str([0] * 9 + [-1]))
    assert line() == f"{labels}: must hold labels from 0 to 9. Got -1 for image 9."
    labels.write_text('{"a": 1}')
    assert line() == f"{labels}: must be a list of class numbers."
    labels.write_text("[0")
    assert line().startswith(f"{labels}: must be JSON. Got ")
    png.write_bytes(png.read_bytes()[:2000])
    assert line().startswith(f"{png}: must be a whole PNG. Got ")
    png.write_bytes(b"no image")
    assert line().startswith(f"{png}: must be a whole PNG. Got ")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        code = prepare.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    return code, out, err


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_idx(tmp_path / "idx", LABELS)
    read = prepare.read_idx
    monkeypatch.setattr(prepare, "read_idx", lambda folder: read(folder, (10, 4)))
    out = tmp_path / "new" / "out"
    options = ("--limit-per-class", "2,1", "--test-as", "val")
    assert run(capsys, "idx", tmp_path / "idx", out, *options) == (
        0,
        f"{out}/train: 9 images in 10 classes\n{out}/val: 3 images in 10 classes\n",
        "",
    )
    assert len(written(out)) == 12
    digits = tmp_path / "digits"
    assert run(capsys, "idx", tmp_path / "idx", digits, "--names", "digits")[0] == 0
    assert "test/1/0.png" in written(digits)


def test_command_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "idx", tmp_path, tmp_path / "out") == (
        4,
        "",
        f"prepare.py: {tmp_path}: must hold train-images-idx3-ubyte or "
        "train-images-idx3-ubyte.gz.\n",
    )
    assert run(capsys, "cifar10", tmp_path, tmp_path / "out") == (
        4,
        "",
        f"prepare.py: {tmp_path}/data_batch_1.png: No such file or directory.\n",
    )
    for limit in ("0", "1,2,3", "x", ""):
        assert run(capsys, "idx", "a", "b", "--limit-per-class", limit) == (
            2,
            "",
            "prepare.py: argument --limit-per-class: must be N or N,M, both above 0. "
            f"Got {limit!r}.\n",
        )


def test_shipped_images() -> None:
    found = written(DATA / "fashion")
    for part, count in (("train", 200), ("val", 50)):
        for name in prepare.FASHION:
            ours = [path for path in found if path.startswith(f"{part}/{name}/")]
            assert len(ours) == count
    assert len(found) == 2500
    assert all(image.shape == (28, 28) and image.dtype == np.uint8 for image in found.values())
    text = (DATA / "README.md").read_text()
    assert "The MIT License" in text
    assert "Zalando SE" in text
