"""Confusion matrices as files."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from cnn_cli.report.confusion import confusion_csv, confusion_png

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
