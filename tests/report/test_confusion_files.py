"""Confusion matrices as files."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from cnn_cli.report.pictures.confusion_plot import confusion_png
from cnn_cli.report.text.csv_files import confusion_csv

NAMES = ("a,b", "$x$", "\udcff猫")
COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 5]])


def test_csv() -> None:
    text = confusion_csv(COUNTS, NAMES).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["true", "a,b", "$x$", "\\udcff猫"],
        ["a,b", "3", "1", "0"],
        ["$x$", "0", "0", "0"],
        ["\\udcff猫", "2", "0", "5"],
    ]


def test_png() -> None:
    pytest.importorskip("matplotlib")
    with Image.open(io.BytesIO(confusion_png(COUNTS, NAMES))) as image:
        assert image.format == "PNG"
        assert image.width > 300


@pytest.mark.parametrize("classes", [2, 12, 25, 43, 160])
def test_every_size_has_its_cells(classes: int) -> None:
    """Nothing is cut: the edge is white all around, and the diagonal is darkest."""
    pytest.importorskip("matplotlib")
    counts = np.eye(classes, dtype=np.int64) * 90
    counts[0, 1] = 10
    names = [f"a class of some length {i}" for i in range(classes)]
    with Image.open(io.BytesIO(confusion_png(counts, names))) as image:
        pixels = np.asarray(image.convert("L"))
    edge = np.concatenate([pixels[:8].ravel(), pixels[-8:].ravel(), pixels[:, :8].ravel()])
    assert (edge == 255).all()
    assert (pixels[:, -8:] == 255).all()
    dark = (pixels < 80).mean()
    assert 0.08 / classes < dark < 1.6 / classes


def test_very_long_names_are_shortened() -> None:
    pytest.importorskip("matplotlib")
    names = ["x" * 50, "y" * 250]
    with Image.open(io.BytesIO(confusion_png(np.eye(2, dtype=int), names))) as image:
        assert image.width < 1500
