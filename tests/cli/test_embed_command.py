"""`cnn embed` and `cnn similar`."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_program import Inside

from cnn_cli.data.decode import load_image
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.index import index_meta, write_index


@pytest.fixture(autouse=True)
def _in_copy(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(project / "photos/val", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)


def test_features_are_what_the_last_layer_reads(cnn: Inside, trained: Path) -> None:
    """Multiplied by its weights, they give the scores."""
    outcome = cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz", "-b", 5)
    assert (outcome.code, outcome.out, outcome.err) == (0, "written  x.npz\n", "")
    with np.load("x.npz", allow_pickle=False) as archive:
        features, paths = archive["features"], [path.decode() for path in archive["paths"]]
        norms = archive["norms"]
    assert features.shape == (12, 4)
    np.testing.assert_allclose(norms, np.linalg.norm(features, axis=1), rtol=1e-6)
    classifier = Classifier.load(trained)
    with np.load(trained / "best.npz", allow_pickle=False) as archive:
        weight, bias = (archive[f"model/layers.4/{name}"] for name in ("weight", "bias"))
    with classifier.engine(1) as engine:
        images = np.stack([load_image(path, classifier.preprocess) for path in paths])
        logits = engine.predict(images)
    np.testing.assert_allclose(features @ weight.T + bias, logits, rtol=1e-4, atol=1e-5)


def test_csv_has_the_same_numbers(cnn: Inside, trained: Path) -> None:
    for name in ("x.npz", "x.csv"):
        outcome = cnn("embed", "photos", "--ckpt", trained, "--output", name, "--layer", "layers.2")
        assert outcome.code == 0
    rows = list(csv.reader(Path("x.csv").read_text().splitlines()))
    assert rows[0] == ["path", "f1", "f2", "f3", "f4"]
    with np.load("x.npz", allow_pickle=False) as archive:
        assert [row[0].encode() for row in rows[1:]] == archive["paths"].tolist()
        numbers = np.array([row[1:] for row in rows[1:]], np.float32)
        np.testing.assert_array_equal(numbers, archive["features"])


def test_the_map_of_a_layer_is_averaged(cnn: Inside, trained: Path) -> None:
    """As the following pooling does."""
    found = []
    for layer in ("layers.2", "layers.3"):
        line = ("embed", "photos", "--ckpt", trained, "--output", "x.npz", "--layer", layer)
        assert cnn(*line).code == 0
        with np.load("x.npz", allow_pickle=False) as archive:
            found.append(archive["features"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_unreadable_ones_are_named_and_left_out(cnn: Inside, trained: Path) -> None:
    Path("photos/broken.png").write_bytes(b"no image")
    outcome = cnn("embed", "photos", "gone.png", "--ckpt", trained, "--output", "x.npz")
    assert (outcome.code, outcome.out) == (4, "written  x.npz\n")
    assert outcome.err == (
        "cnn: photos/broken.png: not an image Pillow can read.\n"
        "cnn: gone.png: cannot be read. Got no such file or directory.\n"
    )
    with np.load("x.npz", allow_pickle=False) as archive:
        assert len(archive["paths"]) == 12


def test_skipped_files_are_noted(cnn: Inside, trained: Path) -> None:
    for name in ("a.heic", "b.heic", "notes.txt"):
        (Path("photos") / name).touch()
    outcome = cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz")
    line = "cnn: 2 .heic left out: install the extra heic; 1 .txt left out\n"
    if importlib.util.find_spec("pi_heif"):
        (Path("photos") / "a.heic").unlink()
        (Path("photos") / "b.heic").unlink()
        outcome = cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz")
        line = "cnn: 1 .txt left out\n"
    assert (outcome.code, outcome.err) == (0, line)


@pytest.mark.parametrize("name", ["x.npz", "x.csv"])
def test_without_a_readable_image_the_file_is_kept(cnn: Inside, trained: Path, name: str) -> None:
    assert cnn("embed", "photos", "--ckpt", trained, "--output", name).code == 0
    before = Path(name).read_bytes()
    outcome = cnn("embed", "gone", "gone.png", "--ckpt", trained, "--output", name)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == (
        "cnn: gone: cannot be read. Got no such file or directory.\n"
        "cnn: gone.png: cannot be read. Got no such file or directory.\n"
        "cnn: gone, gone.png: must hold a readable image. Got none.\n"
    )
    assert Path(name).read_bytes() == before
    assert sorted(os.listdir()) == ["photos", name]


def test_an_empty_index(cnn: Inside, trained: Path) -> None:
    with open("x.npz", "wb") as file:
        write_index(file, [], index_meta(Classifier.load(trained), None), Path())
    outcome = cnn("similar", "photos/grey/1.png", "--index", "x.npz")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == "cnn: x.npz: must hold at least one image. Got none.\n"


def test_the_nearest_picture_is_the_picture_itself(cnn: Inside, trained: Path) -> None:
    assert cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz").code == 0
    line = ("similar", "photos/grey/1.png", "--index", "x.npz")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [row.split("\t") for row in outcome.out.splitlines()]
    assert len(rows) == 5
    assert rows[0] == ["photos/grey/1.png", "1.000000"]
    found = json.loads(cnn(*line, "--topk", 2, "--json").out)
    assert found["path"] == "photos/grey/1.png"
    assert [each["path"] for each in found["similar"]] == [row[0] for row in rows[:2]]


def test_a_checkpoint_that_was_moved_or_is_another(
    cnn: Inside, trained: Path, project: Path
) -> None:
    shutil.copy(trained / "best.npz", "m.npz")
    assert cnn("embed", "photos", "--ckpt", "m.npz", "--output", "x.npz").code == 0
    Path("m.npz").rename("n.npz")
    line = ("similar", "photos/grey/1.png", "--index", "x.npz")
    outcome = cnn(*line)
    said = f"cnn: {Path.cwd()}/m.npz: cannot be read. Got no such file or directory.\n"
    assert (outcome.code, outcome.err) == (4, said)
    assert cnn(*line, "--ckpt", "n.npz").code == 0
    initial = ("train", project / "tiny.yaml", "--epochs", 0, "--out", "run", "--quiet")
    assert cnn(*initial).code == 0
    outcome = cnn(*line, "--ckpt", "run")
    said = "cnn: x.npz: was made by another network than run/last.npz.\n"
    assert (outcome.code, outcome.err) == (4, said)


def test_infinite_features_are_named_and_left_out(
    cnn: Inside, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be rows of nan in an index, which finds no image by them."""
    rows = np.ones((12, 4), np.float32)
    rows[1, 2] = np.inf
    monkeypatch.setattr("cnn_cli.inference.embedding.Embedder.__call__", lambda *_: rows)
    outcome = cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz")
    said = "cnn: photos/bright/1.png: must have finite features.\n"
    assert (outcome.code, outcome.err) == (4, said)
    with np.load("x.npz", allow_pickle=False) as archive:
        assert archive["features"].tolist() == [[1.0] * 4] * 11
        assert b"photos/bright/1.png" not in archive["paths"]


def test_features_that_are_not_finite(
    cnn: Inside, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cnn("embed", "photos", "--ckpt", trained, "--output", "x.npz").code == 0
    infinite = np.full((1, 4), np.inf, np.float32)
    monkeypatch.setattr("cnn_cli.inference.index.Embedder.__call__", lambda *_: infinite)
    outcome = cnn("similar", "photos/grey/1.png", "--index", "x.npz")
    said = "cnn: photos/grey/1.png: must have finite features, to be compared.\n"
    assert (outcome.code, outcome.out, outcome.err) == (4, "", said)


def test_the_same_weights_in_another_network(cnn: Inside, trained: Path, project: Path) -> None:
    """Features depend on layers without weights too, but not on what `eval --calibrate` adds."""
    shutil.copy(trained / "best.npz", "m.npz")
    assert cnn("embed", "photos", "--ckpt", "m.npz", "--output", "x.npz").code == 0
    line = ("similar", "photos/grey/1.png", "--index", "x.npz", "--ckpt")
    expected = cnn(*line, "m.npz").out
    layers = yaml.safe_load((trained / "config.yaml").read_text())["model"]["layers"]
    other = [{"leaky_relu": {}} if each == {"relu": {}} else each for each in layers]
    assert other != layers
    model = f"model.layers={json.dumps(other)}"
    line_of_other = ("train", project / "tiny.yaml", model, "--weights", "m.npz", "--epochs", 0)
    assert cnn(*line_of_other, "--out", "run", "--quiet").code == 0
    outcome = cnn(*line, "run")
    said = "cnn: x.npz: was made by another network than run/last.npz.\n"
    assert (outcome.code, outcome.err) == (4, said)
    assert cnn("eval", project / "photos", "--ckpt", "m.npz", "--calibrate").code == 0
    outcome = cnn(*line, "m.npz")
    assert (outcome.code, outcome.out) == (0, expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--output x.npz", "embed: needs SOURCE. Got nothing."),
        ("photos --output x.txt", "--output: must be a .npz or .csv file. Got 'x.txt'."),
        (
            "photos --output x.npz --layer layers.9",
            "--layer: must be a layer of the network. Did you mean 'layers.4'? Got 'layers.9'.",
        ),
    ],
)
def test_usage(cnn: Inside, trained: Path, line: str, message: str) -> None:
    outcome = cnn("embed", "--ckpt", trained, *line.split())
    assert (outcome.code, outcome.err) == (2, f"cnn: {message}\n")
    assert not Path("x.npz").exists()
