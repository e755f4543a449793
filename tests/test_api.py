"""The Python interface: the same results as the command, from paths, bytes, arrays and images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures
from PIL import Image

import cnn_cli
from cnn_cli.config import validate_config
from cnn_cli.errors import DataError
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and the run `run` that was trained on them."""
    root = tmp_path_factory.mktemp("api")
    make_pictures(root / "pictures")
    config = validate_config(config_document(root / "pictures", epochs=1), "x.yaml")
    options = TrainOptions(out=root / "run", threads=1, backend="numpy")
    train(config, "x.yaml", options, Requests(), Silent())
    return root


def test_the_same_as_the_command(folder: Path) -> None:
    paths = sorted((folder / "pictures" / "val").rglob("*.png"))
    command = [sys.executable, "-m", "cnn_cli", "predict", *map(str, paths), "--batch-size", "5"]
    command += ["--ckpt", str(folder / "run"), "--format", "jsonl", "--threads", "1"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    expected = [(row["label"], row["prob"]) for row in rows]
    with cnn_cli.load(folder / "run", threads=1) as model:
        found = model.predict(paths, batch_size=5)
        assert [(each.label, each.prob) for each in found] == expected
        assert model.classes == ("bright", "dark", "striped")
        assert model.image_size == (8, 8)


def test_paths_bytes_arrays_and_images_are_the_same_picture(folder: Path) -> None:
    path = folder / "pictures" / "val" / "dark" / "0.png"
    pixels = np.asarray(Image.open(path))
    as_colour = np.stack([pixels] * 3, axis=2)
    forms: list[Any] = [str(path), path, path.read_bytes(), pixels, pixels[..., None], as_colour]
    with cnn_cli.load(folder / "run", threads=1) as model:
        (expected,) = model.predict(path)
        assert expected.topk[0] == (expected.label, expected.prob)
        assert len(expected.topk) == 3
        assert len(model.predict(path, topk=2)[0].topk) == 2
        for form in [*forms, Image.open(path)]:
            assert model.predict(form) == [expected]
        # One at a time: sums over more pictures are rounded in another order.
        assert model.predict(forms, batch_size=1) == [expected] * len(forms)
        assert model.predict(np.stack([as_colour] * 3), batch_size=1) == [expected] * 3
        assert model.predict(iter(forms), batch_size=1) == [expected] * len(forms)
        assert model.predict([]) == []


def test_pictures_of_another_size_are_brought_to_the_networks(folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 31, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with cnn_cli.load(folder / "run", threads=1) as model:
        assert model.predict(pixels) == model.predict(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (np.zeros((4, 4)), "float64 of shape (4, 4)"),
        (np.zeros((4, 4, 2), np.uint8), "uint8 of shape (4, 4, 2)"),
        (np.zeros((0, 4), np.uint8), "uint8 of shape (0, 4)"),
        (np.zeros(4, np.uint8), "uint8 of shape (4,)"),
    ],
)
def test_arrays_that_are_no_pictures(folder: Path, pixels: Any, got: str) -> None:
    with (
        cnn_cli.load(folder / "run", threads=1) as model,
        pytest.raises(ValueError, match="picture 0") as caught,
    ):
        model.predict(pixels)
    rule = "must be uint8 of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"
    assert str(caught.value) == f"picture 0: {rule}. Got {got}."


def test_files_that_are_no_pictures(folder: Path) -> None:
    with cnn_cli.load(folder / "run", threads=1) as model:
        with pytest.raises(DataError, match=r"no_such\.png: cannot be read"):
            model.predict("no_such.png")
        with pytest.raises(DataError, match="picture 1: not an image Pillow can read"):
            model.predict([np.zeros((4, 4), np.uint8), b"x"])


def test_no_checkpoint_and_no_backend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read\. Got no such file"):
        cnn_cli.load(tmp_path / "a.npz")


def test_importing_the_package_is_light() -> None:
    code = "import sys, cnn_cli; print(sorted({'numpy', 'PIL', 'pydantic'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout == "[]\n"


def test_what_it_does_not_have() -> None:
    with pytest.raises(AttributeError, match="module 'cnn_cli' has no attribute 'lode'"):
        _ = cnn_cli.lode
