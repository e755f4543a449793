"""Images in the HTML report: selection, heat maps, filters."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_check import Page
from PIL import Image

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.dataset import Split
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.nn.params import Parameters
from cnn_cli.report.html import gallery
from cnn_cli.report.html.gallery import data_uri, filters, galleries
from cnn_cli.report.html.page import Section, page
from cnn_cli.report.html.subject import Measured
from cnn_cli.report.html.template import joined
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint

CLASSES = ["ant", "bee", "cow"]


def classifier(folder: Path, layers: list[Any], channels: int = 3) -> Classifier:
    """Return a network with random weights for 8×8 images."""
    config = {"data": {"image_size": 8, "channels": channels}, "model": {"layers": layers}}
    graph = build_graph(validate_config(config, "x").model, (8, 8, channels), 3, "x")
    params = Parameters(graph, "float32")
    rng = np.random.default_rng(0)
    model = {name: rng.standard_normal(each.shape) for name, each in params.named().items()}
    meta = {
        "config": config,
        "classes": CLASSES,
        "preprocess": {"height": 8, "width": 8, "channels": channels, "resize_mode": "crop"},
        "mean": [0.5] * channels,
        "std": [0.25] * channels,
    }
    save_checkpoint(folder / "m.npz", Checkpoint(meta, {"model": model}))
    return Classifier.load(folder / "m.npz")


def measured(folder: Path, logits: list[list[float]], labels: list[int]) -> Measured:
    """Return an evaluation with given logits of small images."""
    rng = np.random.default_rng(1)
    paths = [str(folder / f"{i}.png") for i in range(len(labels))]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path)
    given = np.array(labels)
    evaluation = Evaluation.of(np.array(logits), given, np.arange(len(labels)))
    return Measured(Split(paths, given), evaluation, {}, "val", str(folder))


def shown(parts: list[Any]) -> list[str]:
    return re.findall(r'<p class="note">(.*?)</p>', joined(parts))


def test_mistakes_from_the_surest_hits_from_the_least_sure(tmp_path: Path) -> None:
    model = classifier(
        tmp_path,
        [{"conv": {"out_channels": 4, "kernel_size": 3}}, "flatten", {"linear": "classes"}],
    )
    logits = [[3.0, 0, 0], [5.0, 0, 0], [0, 1.0, 0], [0, 0, 4.0], [0, 2.0, 0]]
    parts = galleries(model, measured(tmp_path, logits, [1, 1, 1, 2, 0]), 1)
    assert shown(parts) == ["1.png", "0.png", "4.png", "2.png", "3.png"]
    text = Page(page("x", "y", [Section("a", "A", parts)]).decode())
    assert text.faults == []
    assert "bee 0.0066, predicted ant 0.9867" in text.text
    assert "bee 0.5761, then ant 0.2119" in text.text
    assert [image["alt"] for image in text.images[:2]] == [
        "an image of bee",
        "Grad-CAM heat map for ant",
    ]
    assert "Grad-CAM of layers.0 (conv)" in text.text


def test_no_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MOST", 2)
    model = classifier(tmp_path, ["flatten", {"linear": "classes"}])
    parts = galleries(model, measured(tmp_path, [[1.0, 0, 0]] * 5, [0, 0, 0, 1, 1]), 1)
    assert shown(parts) == ["3.png", "4.png", "0.png", "1.png"]
    assert "No layer has a map for Grad-CAM." in joined(parts)
    assert joined(parts).count("<img") == 4


def test_all_right_all_wrong_and_vanished(tmp_path: Path) -> None:
    model = classifier(tmp_path, ["flatten", {"linear": "classes"}])
    said = measured(tmp_path, [[1.0, 0, 0]] * 2, [0, 0])
    assert "No image was misclassified." in joined(galleries(model, said, 1))
    (tmp_path / "0.png").unlink()
    assert shown(galleries(model, said, 1)) == ["1.png"]
    said = measured(tmp_path, [[1.0, 0, 0]] * 2, [1, 1])
    assert "No image was classified correctly." in joined(galleries(model, said, 1))


def read(uri: str) -> Image.Image:
    start, _, content = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert start == f"data:image/{str(image.format).lower()}"
    return image


def test_the_smaller_of_png_and_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert read(data_uri(Image.fromarray(noise))).format == "JPEG"
    assert read(data_uri(Image.new("RGB", (64, 64), "red"))).format == "PNG"


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_as_pixels(tmp_path: Path, channels: int) -> None:
    conv = {"out_channels": 20, "kernel_size": [5, 3], "bias": False}
    model = classifier(tmp_path, [{"conv": conv}, "flatten", {"linear": "classes"}], channels)
    parts = filters(model)
    image = Page(page("x", "y", [Section("a", "A", parts)]).decode()).images[0]
    drawn = np.asarray(read(image["src"]))
    # Squares of 8 pixels, 16 per row; the rest of the second row is transparent.
    assert drawn.shape == (2 * 44 - 4, 16 * 28 - 4, 4)
    assert (drawn[44:, 4 * 28 :, 3] == 0).all()
    weight = model.params.named()["layers.0/weight"]
    for number in (0, 17):
        row, column = divmod(number, 16)
        tile = drawn[row * 44 : row * 44 + 40 : 8, column * 28 : column * 28 + 24 : 8, :3]
        expected = 127.5 + 127.5 * weight[number] / np.abs(weight[number]).max()
        np.testing.assert_allclose(tile[..., :channels], expected.transpose(1, 2, 0), atol=0.51)
        assert (tile[..., 2] == tile[..., channels - 1]).all()
    assert "The 20 filters of layers.0, 5×3, " + ("in color" if channels == 3 else "gray") in (
        joined(parts)
    )


def test_many_filters_and_none(tmp_path: Path) -> None:
    conv = {"conv": {"out_channels": 300, "kernel_size": 1}}
    text = joined(filters(classifier(tmp_path, [conv, "global_avgpool", {"linear": "classes"}])))
    assert "The first 256 of 300 filters of layers.0" in text
    nothing = filters(classifier(tmp_path, ["flatten", {"linear": "classes"}]))
    assert joined(nothing) == "<p>The network has no convolution.</p>"
