"""Images with five 16-bit bands, and arrays of real numbers, in every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from band_samples import npy, tiff
from cli_program import Inside, Outcome
from numpy.typing import NDArray
from PIL import Image

import cnn_cli
from cnn_cli.runs.checkpoint import load_checkpoint

CONFIG = """\
data: {{root: photos, image_size: 8, {data}}}
augment:
  {{hflip: 0.5, vflip: true, pad_crop: 1, rotate: 9, random_resized_crop: {{scale: [0.7, 1.0]}},
    random_erase: {{p: 0.3}}, mixup: {{p: 0.2}}, cutmix: {{p: 0.2}}}}
model:
  layers:
    - conv: {{out_channels: 4, kernel_size: 3, padding: 1}}
    - batchnorm
    - relu
    - global_avgpool
    - linear: classes
train: {{epochs: 3, batch_size: 8, optimizer: {{lr: 0.05}}}}
"""


class Kind(NamedTuple):
    """A kind of images.

    Attributes:
        data: the config's keys.
        mean: mean of the pixels, in the unit of `data.mean`.
        full: full scale of that unit.
    """

    suffix: str
    data: str
    mean: float
    full: float
    onnx: str


KINDS = {
    "tiff": Kind(".tif", "channels: 5, depth: 16", 2000 / 65535, 65535, "tensor(uint16)"),
    "npy": Kind(".npy", "channels: 2, depth: float", -7.0, 1.0, "tensor(float)"),
}


def make_picture(kind: str, rng: np.random.Generator, bright: int) -> NDArray[Any]:
    """Return an image of one of two classes, each brighter in its own band."""
    if kind == "tiff":
        x = rng.integers(1500, 2500, (9, 11, 5)).astype(np.uint16)
        x[..., bright] += 1000
        x[..., 1 - bright] -= 1000
        return x
    real = rng.normal(-7, 1, (9, 11, 2))
    real[..., bright] += 4
    real[..., 1 - bright] -= 4
    return real


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "tiff":
        pytest.importorskip("tifffile")
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/<split>/<class>/<n>` and `a.yaml`."""
    place, rng = tmp_path_factory.mktemp(kind), np.random.default_rng(0)
    for split, count in {"train": 12, "val": 6}.items():
        for bright, name in enumerate(("first", "second")):
            (place / "photos" / split / name).mkdir(parents=True)
            for i in range(count):
                x = make_picture(kind, rng, bright)
                content = tiff(x) if kind == "tiff" else npy(x)
                file = place / "photos" / split / name / f"{i}{KINDS[kind].suffix}"
                file.write_bytes(content)
    (place / "a.yaml").write_text(CONFIG.format(data=KINDS[kind].data))
    return place


@pytest.fixture
def run(cnn: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, trained once, in the current folder."""
    monkeypatch.chdir(folder)
    if not (folder / "run").exists():
        outcome = cnn("train", "a.yaml", "--out", "run", "--threads", 1, "--backend", "numpy")
        assert outcome.code == 0, outcome.err
    return Path("run")


def test_mean_and_std_are_of_the_range(run: Path, kind: str) -> None:
    meta = load_checkpoint(run / "last.npz", ()).meta
    suffix, full = KINDS[kind].suffix, KINDS[kind].full
    assert meta["preprocess"]["depth"] == (16 if kind == "tiff" else "float")
    np.testing.assert_allclose(meta["mean"][:2], KINDS[kind].mean, rtol=0.05)
    # Images are cached larger than the network's input; here at full size.
    files = sorted(Path("photos/train").rglob(f"*{suffix}"))
    if kind == "npy":
        pixels = np.stack([np.load(file).astype(np.float32) for file in files]) / full
        np.testing.assert_allclose(meta["mean"], pixels.mean(axis=(0, 1, 2)), rtol=0.02)
        np.testing.assert_allclose(meta["std"], pixels.std(axis=(0, 1, 2)), rtol=0.15)


def test_it_learns_and_every_command_takes_it(
    cnn: Inside, run: Path, kind: str, tmp_path: Path
) -> None:
    scores = json.loads(cnn("eval", "--ckpt", run, "--json", "--tta", "tencrop").out)
    assert scores["top1"] == 1.0
    outcome = cnn("predict", "photos/val", "--ckpt", run, "--format", "jsonl")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, len(rows)) == (0, 12)
    assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
    first = rows[0]["path"]
    explained = cnn("explain", first, "--ckpt", run, "--output", tmp_path / "why")
    assert explained.code == 0, explained.err
    index = tmp_path / "a.npz"
    assert cnn("embed", "photos/val", "--ckpt", run, "--output", index).code == 0
    assert cnn("similar", first, "--index", index, "--ckpt", run).out.split()[0] == first
    assert cnn("report", run, "--output", tmp_path / "a.html").code == 0
    assert (
        cnn("eval", "--ckpt", run, "--top-losses", 4, "--sheet", tmp_path / "worst.png").code == 0
    )
    assert cnn("data", "preview", "a.yaml", "--output", tmp_path / "a.png").code == 0
    for drawn in ("why/sheet.png", "worst.png", "a.png"):
        with Image.open(tmp_path / drawn) as image:
            assert image.mode == "RGB"
            assert len(image.resize((40, 40)).convert("RGB").getcolors(40 * 40) or ()) > 20


def test_resumed_to_the_same_bits(cnn: Inside, run: Path) -> None:
    line = ("train", "a.yaml", "--threads", 1, "--backend", "numpy")
    assert cnn(*line, "--out", "short", "train.epochs=1", "train.scheduler=constant").code == 0
    more = ("train.epochs=3", "train.scheduler=constant")
    assert cnn(*line, "--out", "short", "--resume", *more).code == 0
    assert cnn(*line, "--out", "long", *more).code == 0
    ours, others = (load_checkpoint(Path(name, "last.npz")) for name in ("short", "long"))
    for name, array in ours.groups["model"].items():
        np.testing.assert_array_equal(array, others.groups["model"][name])


def test_arrays_in_python_are_as_the_files(run: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    pictures = [make_picture(kind, rng, bright) for bright in (0, 1, 1)]
    with cnn_cli.load(run, threads=1) as model:
        found = model.predict(pictures)
        assert [each.label for each in found] == ["first", "second", "second"]
        assert model.predict(np.stack(pictures)) == found
        assert model.predict([npy(each) for each in pictures]) == found
        shape = "(h, w, 5)" if kind == "tiff" else "(h, w, 2)"
        words = "uint8 or uint16" if kind == "tiff" else "real numbers"
        with pytest.raises(ValueError, match="must be") as caught:
            model.predict(np.zeros((4, 4, 3), np.float32))
        assert str(caught.value) == (
            f"picture 0: must be {words} of shape {shape}. Got float32 of shape (4, 4, 3)."
        )
        if kind == "npy":
            with pytest.raises(cnn_cli.api.ImageError, match="not finite"):
                model.predict(np.full((4, 4, 2), np.nan))


@pytest.mark.parametrize("preprocessing", [[], ["--preprocessing"]])
def test_onnx_agrees(
    cnn: Inside, run: Path, kind: str, tmp_path: Path, preprocessing: list[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "a.onnx"
    outcome = cnn("export", "--ckpt", run, "--output", file, *preprocessing, "--check", "photos")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("checked  36 images")
    (entry,) = runtime.InferenceSession(file).get_inputs()
    assert entry.type == (KINDS[kind].onnx if preprocessing else "tensor(float)")


def test_bad_pictures_are_left_out_and_named(cnn: Inside, run: Path, kind: str) -> None:
    odd, rule = Path("photos/val/first", f"odd{KINDS[kind].suffix}"), "as data.channels says"
    odd.write_bytes(npy(np.zeros((5, 5, 7))))
    try:
        outcome = cnn("predict", odd, "--ckpt", run)
        bands = 5 if kind == "tiff" else 2
        line = f"cnn: {odd}: must have {bands} bands, {rule}. Got 7 bands.\n"
        assert outcome == Outcome(4, "", line)
        outcome = cnn("eval", "--ckpt", run, "--json")
        assert json.loads(outcome.out)["bad_files"] == 1
        strict = cnn("train", "a.yaml", "--out", "strict", "data.on_corrupt=error")
        assert strict.code == 4
        assert f"{odd}: must have {bands} bands, {rule}. Got 7 bands." in strict.err
    finally:
        odd.unlink()


@pytest.mark.parametrize("technique", ["color_jitter=0.2", "trivialaugment=true"])
def test_color_is_not_changed(cnn: Inside, folder: Path, technique: str) -> None:
    outcome = cnn("train", folder / "a.yaml", "--dry-run", f"augment.{technique}")
    key, rule = (
        technique.split("=", maxsplit=1)[0],
        "changes colors, which needs data.channels 1 or 3",
    )
    assert outcome.code == 3
    assert f"augment.{key}: {rule} and data.depth 8" in outcome.err
