"""Confusion matrices as files."""

from __future__ import annotations

import csv
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn_cli.inference.metrics import Confusion
from cnn_cli.report.pictures.confusion_plot import confusion_png
from cnn_cli.report.text.csv_files import confusion_csv

NAMES = ("a,b", "$x$", "\udcff猫")
COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 5]])


def test_csv() -> None:
    file = io.BytesIO()
    confusion_csv(Confusion.of_matrix(COUNTS), NAMES, file)
    text = file.getvalue().decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["true", "a,b", "$x$", "\\udcff猫"],
        ["a,b", "3", "1", "0"],
        ["$x$", "0", "0", "0"],
        ["\\udcff猫", "2", "0", "5"],
    ]


def test_png() -> None:
    pytest.importorskip("matplotlib")
    with Image.open(io.BytesIO(confusion_png(Confusion.of_matrix(COUNTS), NAMES))) as image:
        assert image.format == "PNG"
        assert image.width > 300


@pytest.mark.parametrize("classes", [2, 12, 25, 43, 160])
def test_every_size_has_its_cells(classes: int) -> None:
    """Nothing is cropped: the edge is white all around, and the diagonal is darkest."""
    pytest.importorskip("matplotlib")
    counts = np.eye(classes, dtype=np.int64) * 90
    counts[0, 1] = 10
    names = [f"a class of some length {i}" for i in range(classes)]
    with Image.open(io.BytesIO(confusion_png(Confusion.of_matrix(counts), names))) as image:
        pixels = np.asarray(image.convert("L"))
    edge = np.concatenate([pixels[:8].ravel(), pixels[-8:].ravel(), pixels[:, :8].ravel()])
    assert (edge == 255).all()
    assert (pixels[:, -8:] == 255).all()
    dark = (pixels < 80).mean()
    assert 0.08 / classes < dark < 1.6 / classes


def test_very_long_names_are_shortened() -> None:
    pytest.importorskip("matplotlib")
    names = ["x" * 50, "y" * 250]
    confusion = Confusion.of_matrix(np.eye(2, dtype=int))
    with Image.open(io.BytesIO(confusion_png(confusion, names))) as image:
        assert image.width < 1500


def test_thousands_of_classes_share_cells() -> None:
    pytest.importorskip("matplotlib")
    classes = 2001
    labels = np.arange(classes)
    confusion = Confusion.of(labels, labels, classes)
    names = [f"class {i}" for i in range(classes)]
    with Image.open(io.BytesIO(confusion_png(confusion, names))) as image:
        assert max(image.size) < 5000
        pixels = np.asarray(image.convert("L"))
    assert 0.08 / 1001 < (pixels < 80).mean() < 1.6 / 1001


class Nowhere(io.RawIOBase):
    """Counts the bytes written."""

    def __init__(self) -> None:
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.bytes += len(content)
        return len(content)


def test_a_csv_of_many_classes_is_written_row_by_row() -> None:
    classes = 1500
    labels = np.arange(classes)
    confusion = Confusion.of(labels, labels[::-1], classes)
    names = [f"class {i}" for i in range(classes)]
    file = Nowhere()
    tracemalloc.start()
    confusion_csv(confusion, names, io.BufferedWriter(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.bytes > 2 * classes * (classes - 10)
    assert peak < 2_000_000
