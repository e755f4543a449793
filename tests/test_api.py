"""The Python interface: the same results as the command, for paths, bytes, arrays and images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import encoded
from learnable import config_document, make_pictures
from PIL import Image

import cnn_cli
from cnn_cli.config import validate_config
from cnn_cli.data.upright import ORIENTATION
from cnn_cli.errors import DataError
from cnn_cli.inference.predictor import Predictor
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and the run `run` trained on them."""
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


def test_scores_that_are_not_finite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No class is the most probable one; the command prints no label either."""
    nothing = np.full((1, 3), np.nan, np.float32)
    monkeypatch.setattr(Predictor, "probabilities", lambda *_: nothing)
    with cnn_cli.load(folder / "run", threads=1) as model:
        (found,) = model.predict(folder / "pictures" / "val" / "dark" / "0.png")
    assert found.label is None
    assert np.isnan(found.prob)


def test_paths_bytes_arrays_and_images_are_the_same_picture(folder: Path) -> None:
    path = folder / "pictures" / "val" / "dark" / "0.png"
    pixels = np.asarray(Image.open(path))
    as_color = np.stack([pixels] * 3, axis=2)
    forms: list[Any] = [str(path), path, path.read_bytes(), pixels, pixels[..., None], as_color]
    with cnn_cli.load(folder / "run", threads=1) as model:
        (expected,) = model.predict(path)
        assert expected.topk[0] == (expected.label, expected.prob)
        assert len(expected.topk) == 3
        assert len(model.predict(path, topk=2)[0].topk) == 2
        for form in [*forms, Image.open(path)]:
            assert model.predict(form) == [expected]
        # One at a time, because larger batches round sums differently.
        assert model.predict(forms, batch_size=1) == [expected] * len(forms)
        assert model.predict(np.stack([as_color] * 3), batch_size=1) == [expected] * 3
        assert model.predict(iter(forms), batch_size=1) == [expected] * len(forms)
        assert model.predict([]) == []


def test_pictures_of_another_size_are_brought_to_the_networks(folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 31, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with cnn_cli.load(folder / "run", threads=1) as model:
        assert model.predict(pixels) == model.predict(tmp_path / "a.png")


def test_a_large_photograph_by_every_way_in(folder: Path, tmp_path: Path) -> None:
    """A JPEG read at a reduced scale: the caller's image keeps its size and file position."""
    path = tmp_path / "large.jpg"
    colors = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(colors).resize((1300, 1000)).save(path, exif=exif)
    command = [sys.executable, "-m", "cnn_cli", "predict", "-", "--ckpt", str(folder / "run")]
    stdin = subprocess.run(
        [*command, "--json", "--threads", "1"],
        input=path.read_bytes(),
        check=True,
        capture_output=True,
    )
    with (
        cnn_cli.load(folder / "run", threads=1) as model,
        Image.open(path) as image,
        path.open("rb") as file,
        Image.open(file) as other,
    ):
        (expected,) = model.predict(path)
        assert json.loads(stdin.stdout)[0]["prob"] == expected.prob
        assert model.predict(path.read_bytes()) == [expected]
        tile, size, place = [*image.tile], image.size, file.tell()
        for _ in range(2):
            assert model.predict(image) == model.predict([other]) == [expected]
        assert (image.tile, image.size, file.tell()) == (tile, size, place)
        assert image.size == (1300, 1000)
        image.load()  # from now on, only the pixels exist
        before = image.tobytes()
        (decoded,) = model.predict(image)
        assert decoded.prob == pytest.approx(expected.prob, abs=0.02)
        assert model.predict(image) == [decoded]
        upright = image.transpose(Image.Transpose.ROTATE_270)
        assert model.predict(np.asarray(upright)) == [decoded]
        assert (image.size, image.tobytes()) == ((1300, 1000), before)


def test_a_scale_that_the_caller_chose_is_kept(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).resize((1200, 1200)).save(path)
    with cnn_cli.load(folder / "run", threads=1) as model, Image.open(path) as image:
        image.draft("L", (150, 150))
        model.predict(image)
        assert image.size == (150, 150)


def test_arguments_are_not_changed(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    colors = rng.integers(0, 256, (20, 31, 4), np.uint8)
    gray, palette = Image.fromarray(colors[..., 0]), Image.fromarray(colors[..., :3]).quantize(9)
    deep = Image.fromarray(colors[..., 0].astype(np.uint16) * 200)
    images = [Image.fromarray(colors), gray, palette, deep, deep.convert("I")]
    exif = Image.Exif()
    exif[ORIENTATION] = 5
    gray.save(tmp_path / "turned.png", exif=exif)
    colors.flags.writeable = False
    arrays = [colors, colors[..., :3], colors[::-1, ::2, 1], np.asfortranarray(colors)]
    pictures: list[Any] = [*arrays, *images, tmp_path / "turned.png", b"no picture"]
    with (
        Image.open(tmp_path / "turned.png") as turned,
        cnn_cli.load(folder / "run", threads=1) as model,
    ):
        pictures.insert(0, turned)
        given = [*pictures]
        everything = [*images, turned]
        before = [(image.size, image.mode, image.tobytes()) for image in everything]
        contents = [array.copy() for array in arrays]
        found = model.predict(pictures[:-1], batch_size=1)
        assert model.predict(pictures[:-1], batch_size=1) == found
        assert found[0] == found[-1]
        with pytest.raises(cnn_cli.ImageError):
            model.predict(pictures)
        assert all(a is b for a, b in zip(pictures, given, strict=True))
        assert [(image.size, image.mode, image.tobytes()) for image in everything] == before
        for array, content in zip(arrays, contents, strict=True):
            np.testing.assert_array_equal(array, content)


def test_images_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((1100, 1000), 50).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-1000])
    (tmp_path / "small.jpg").write_bytes(encoded(Image.effect_noise((50, 50), 50), "JPEG")[:-400])
    closed = Image.open(whole)
    closed.close()
    used = Image.open(whole)
    used.load()
    used.close()
    with whole.open("rb") as file:
        shut = Image.open(file)
    with (
        cnn_cli.load(folder / "run", threads=1) as model,
        Image.open(tmp_path / "cut.jpg") as cut,
        Image.open(tmp_path / "small.jpg") as small,
    ):
        for image, line in (
            (cut, "truncated or damaged."),
            (small, "truncated or damaged."),
            (Image.new("RGB", (0, 5)), "has no pixels. Got 0x5."),
            (closed, "cannot be read. Got a closed image."),
            (used, "cannot be read. Got a closed image."),
            (shut, "cannot be read. Got a closed image."),
        ):
            with pytest.raises(cnn_cli.ImageError) as caught:
                model.predict([np.zeros((4, 4), np.uint8), image])
            assert str(caught.value) == f"picture 1: {line}"
            assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("name", ["topk", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_numbers_that_are_none(folder: Path, name: str, value: Any) -> None:
    with cnn_cli.load(folder / "run", threads=1) as model:
        with pytest.raises(ValueError, match=name) as caught:
            model.predict([], **{name: value})
        line = f"{name} must be a whole number, at least 1. Got {value}."
        assert str(caught.value) == line
        numpys: dict[str, Any] = {name: np.int64(1)}
        assert model.predict([], **numpys) == []


def test_a_model_that_cannot_be_opened_or_is_closed(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^threads must be a whole number, at least 1\. Got 0\.$"):
        cnn_cli.load(folder / "run", threads=0)
    with pytest.raises(ValueError, match=r"^backend must be numpy or fast\. Got 'cuda'\.$"):
        cnn_cli.load(folder / "run", backend="cuda")
    model = cnn_cli.load(folder / "run", threads=1)
    model.close()
    model.close()
    with pytest.raises(ValueError, match=r"^the model is closed: predict while it is open\.$"):
        model.predict(np.zeros((4, 4), np.uint8))


SETTINGS = """
import logging, sys, warnings
warnings.simplefilter("error")
from PIL import EpsImagePlugin, Image
import numpy  # which has filters of its own
before = [*warnings.filters]
import cnn_cli
with cnn_cli.load(sys.argv[1], threads=1) as model:
    try:
        model.predict(b"no picture")
    except cnn_cli.ImageError:
        pass
    model.predict(sys.argv[2])
assert warnings.filters == before
assert logging.getLogger("PIL").handlers == []
assert EpsImagePlugin.gs_binary is None
Image.MAX_IMAGE_PIXELS = 10
try:
    Image.open(sys.argv[2])
except Image.DecompressionBombWarning:
    print("a warning")
"""


def test_a_callers_settings_stay(folder: Path, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.tif")
    command = [sys.executable, "-c", SETTINGS, str(folder / "run"), str(tmp_path / "a.tif")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("a warning\n", "")


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
