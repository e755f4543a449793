"""`cnn explain`: files, output and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_program import Inside
from PIL import Image

from cnn_cli.cli import explain
from cnn_cli.data.decode import load_image
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.gradcam import heat_maps
from cnn_cli.report.pictures.explanations import Overlays
from cnn_cli.report.pictures.overlay import overlay
from cnn_cli.report.pictures.paper import enlarged


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_an_image(cnn: Inside, trained: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "why"
    outcome = cnn("explain", picture, "--ckpt", trained, "--output", out)
    assert outcome.code == 0
    path, label, prob, file = outcome.out.removesuffix("\n").split("\t")
    predicted = cnn("predict", picture, "--ckpt", trained).out.split("\t")
    assert [path, label] == predicted[:2]
    assert float(prob) == pytest.approx(float(predicted[2]), abs=1e-5)
    assert file == str(out / f"0-{label}.png")
    assert outcome.err == f"cnn: images beside their heat maps: {out}/sheet.png\n"
    assert sorted(each.name for each in out.iterdir()) == [f"0-{label}.png", "sheet.png"]
    assert pixels_of(out / "sheet.png").ndim == 3


def test_the_overlay_is_the_heat_map_over_the_picture(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path
) -> None:
    line = ["explain", picture, "--ckpt", trained, "--output", tmp_path, "--class", "grey"]
    assert cnn(*line, "--layer", "layers.1", "--threads", 1).code == 0
    classifier = Classifier.load(trained)
    pixels = load_image(picture, classifier.preprocess)
    with classifier.engine(1) as engine:
        node = next(node for node in classifier.graph.nodes if node.name == "layers.1")
        number = classifier.classes.index("grey")
        found = engine.attribution(node.index)(pixels[None], np.array([number]))
    expected = overlay(np.asarray(enlarged(pixels, 224)), heat_maps(found)[0])
    np.testing.assert_array_equal(pixels_of(tmp_path / "0-grey.png"), expected)


def test_json(cnn: Inside, trained: Path, project: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(project / "photos/test", photos)
    (photos / "dark/broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    outcome = cnn(
        "explain", photos, "--ckpt", trained, "--output", out, "--json", "--class", "dark"
    )
    message = f"cnn: {photos}/dark/broken.png: not an image Pillow can read.\n"
    assert (outcome.code, outcome.err) == (4, message)
    document = json.loads(outcome.out)
    assert list(document) == ["layer", "sheets", "images"]
    assert (document["layer"], document["sheets"]) == ("layers.2", [f"{out}/sheet.png"])
    rows = document["images"]
    assert len(rows) == 7
    assert rows[4] == {
        "path": f"{photos}/dark/broken.png",
        "error": "not an image Pillow can read",
    }
    good = [row for row in rows if "error" not in row]
    assert all(list(row) == ["path", "label", "prob", "file"] for row in good)
    assert {row["label"] for row in good} == {"dark"}
    # Images with equal names get separate files.
    names = [Path(row["file"]).name for row in good]
    assert names[:4] == ["0-dark.png", "1-dark.png", "0-dark-2.png", "1-dark-2.png"]
    assert len({row["file"] for row in good}) == 6
    assert all(Path(row["file"]).exists() for row in good)


def test_many_images_make_several_sheets(
    cnn: Inside, trained: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_cli.report.pictures.explanations.ON_A_SHEET", 5)
    monkeypatch.setattr("cnn_cli.report.pictures.explanations.BATCH", 4)
    line = ["explain", project / "photos/val", "--ckpt", trained, "--output", tmp_path, "--json"]
    document = json.loads(cnn(*line).out)
    sheets = [str(tmp_path / name) for name in ("sheet.png", "sheet-2.png", "sheet-3.png")]
    assert document["sheets"] == sheets
    assert len(document["images"]) == 12


def test_no_image_takes_the_name_of_a_sheet(tmp_path: Path) -> None:
    overlays = Overlays(tmp_path, "", "")
    gray = Image.new("L", (8, 8))
    names = [Path(overlays.add("im/sheet.png", label, 1, [gray, gray])).name for label in "2a2"]
    assert names == ["sheet-2-2.png", "sheet-a.png", "sheet-2-3.png"]


def test_names_are_made_safe(cnn: Inside, trained: Path, picture: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b\n\udcff(1).png"
    shutil.copy(picture, odd)
    outcome = cnn("explain", odd, "--ckpt", trained, "--output", tmp_path, "--class", "grey")
    assert outcome.code == 0
    assert (tmp_path / "a_b_1_-grey.png").exists()
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("explain", "explain: needs --ckpt FILE. Got nothing."),
        ("explain --ckpt CKPT", "explain: needs IMAGE. Got nothing."),
        (
            "explain x.png --ckpt CKPT --class bigt",
            "--class: must be a class that the model has. Did you mean 'bright'? Got 'bigt'.",
        ),
        ("explain x.png --ckpt CKPT --topk 3", "--topk: goes with --index FILE.npz."),
        (
            "explain x.png --ckpt CKPT --layer layer.2",
            "--layer: must be a layer of the network. Did you mean 'layers.2'? Got 'layer.2'.",
        ),
        (
            "explain x.png --ckpt CKPT --layer layers.4",
            "--layer: must be a layer whose output is a map of more than one pixel."
            " Got layers.4, whose output is 3.",
        ),
    ],
)
def test_wrong_command_lines(cnn: Inside, trained: Path, line: str, message: str) -> None:
    words = [str(trained) if word == "CKPT" else word for word in line.split()]
    outcome = cnn(*words)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"cnn: {message}\n")


def test_the_most_similar_images(
    cnn: Inside, trained: Path, project: Path, picture: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(project / "photos" / "train", photos)
    features = tmp_path / "features.npz"
    assert cnn("embed", photos, "--ckpt", trained, "--output", features).code == 0
    near = json.loads(cnn("similar", picture, "--index", features, "--topk", 3, "--json").out)
    Path(near["similar"][1]["path"]).unlink()  # an index may outlive its images
    line = ["explain", picture, "--ckpt", trained, "--index", features, "--output", tmp_path / "o"]
    found = json.loads(cnn(*line, "--topk", 3, "--json").out)
    assert found["images"][0]["similar"] == near["similar"]
    assert pixels_of(tmp_path / "o" / "sheet.png").shape[1] > 5 * 224
    cells = cnn(*line, "--topk", 1).out.removesuffix("\n").split("\t")
    assert cells[4:] == [near["similar"][0]["path"]]
    other = tmp_path / "other.npz"
    shutil.copy(trained / "last.npz", other)
    outcome = cnn("explain", picture, "--ckpt", trained, "--index", other)
    assert (outcome.code, outcome.out) == (4, "")


def test_scores_and_features_that_are_not_finite(
    cnn: Inside, project: Path, tmp_path: Path
) -> None:
    values = ("data.depth=float", "data.mean=[0]", "data.std=[0.001]")
    line = ["train", project / "tiny.yaml", *values, "--epochs", 0, "--out", tmp_path / "run"]
    assert cnn(*line, "--quiet").code == 0
    huge, one = tmp_path / "huge.npy", tmp_path / "one.npy"
    pixels = np.ones((8, 8), np.float32)
    np.save(one, pixels)
    pixels[2:4], pixels[5] = 1e38, -1e38
    np.save(huge, pixels)
    assert cnn("predict", huge, "--ckpt", tmp_path / "run").out == f"{huge}\t\tnan\n"
    line = ["explain", huge, one, "--ckpt", tmp_path / "run", "--output", tmp_path / "why"]
    outcome = cnn(*line)
    assert (outcome.code, outcome.out.split("\t")[0]) == (4, str(one))
    assert outcome.err.splitlines()[0] == f"cnn: {huge}: must have finite scores, to be explained."
    assert len(list((tmp_path / "why").iterdir())) == 2


def test_features_of_which_only_the_scores_are_finite(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = tmp_path / "features.npz"
    assert cnn("embed", picture, "--ckpt", trained, "--output", features).code == 0
    rows = np.array([[1, 1, 1, np.inf], [1, 1, 1, 1]], np.float32)
    monkeypatch.setattr("cnn_cli.inference.index.Embedder.__call__", lambda *_: rows)
    other = tmp_path / "other.png"
    shutil.copy(picture, other)
    line = ["explain", picture, other, "--ckpt", trained, "--output", tmp_path / "why"]
    outcome = cnn(*line, "--index", features)
    assert (outcome.code, outcome.out.split("\t")[0]) == (4, str(other))
    rule = "must have finite features, to be compared"
    assert outcome.err.splitlines()[0] == f"cnn: {picture}: {rule}."
    found = json.loads(cnn(*line, "--index", features, "--json").out)["images"]
    assert found[0] == {"path": str(picture), "error": rule}
    assert len(found[1]["similar"]) == 1


def test_nothing_that_can_be_read(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    outcome = cnn("explain", tmp_path / "x.png", "--ckpt", trained, "--output", tmp_path / "out")
    message = f"cnn: {tmp_path}/x.png: cannot be read. Got no such file or directory.\n"
    assert (outcome.code, outcome.out, outcome.err) == (4, "", message)


def test_skipped_files_are_noted(cnn: Inside, trained: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(picture, tmp_path / "photos/0.png")
    (tmp_path / "photos/notes.txt").touch()
    outcome = cnn("explain", tmp_path / "photos", "--ckpt", trained, "--output", tmp_path / "out")
    assert (outcome.code, outcome.err.splitlines()[0]) == (0, "cnn: 1 .txt left out")


def test_a_folder_that_cannot_be_made(
    cnn: Inside, trained: Path, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    outcome = cnn("explain", picture, "--ckpt", trained, "--output", tmp_path / "file")
    assert outcome.code == 4
    start = f"cnn: {tmp_path}/file: must be a folder that can be written to."
    assert outcome.err.startswith(start)


def test_a_class_is_found_in_any_unicode_form() -> None:
    model: Any = SimpleNamespace(classes=("dog", "caf\u00e9"))
    assert explain._class_number(model, "cafe\u0301") == 1
