"""The plot of training curves."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn_cli.report.pictures.curves_plot import curves_png

pytest.importorskip("matplotlib")
BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def rows(epochs: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "train_top1": 1 - 0.9 / epoch,
            "val_loss": 2.5 / epoch,
            "val_top1": 1 - 0.95 / epoch,
        }
        | changes
        for epoch in range(1, epochs + 1)
    ]


def count(png: bytes, color: tuple[int, int, int]) -> int:
    """Count the pixels of exactly that color."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (1100, 440)
        return int((np.asarray(image.convert("RGB")) == color).all(axis=2).sum())


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_training_and_validation_have_a_line_each(epochs: int) -> None:
    png = curves_png(rows(epochs), best_epoch=epochs)
    assert count(png, BLUE) > 50
    assert count(png, ORANGE) > 50


def test_what_was_not_measured_has_none() -> None:
    png = curves_png(rows(5, val_loss=None, val_top1=None), best_epoch=None)
    assert count(png, BLUE) > 50
    assert count(png, ORANGE) == 0


@pytest.mark.parametrize("loss", [0.0, float("inf"), float("nan"), 1e30])
def test_losses_of_any_size(loss: float) -> None:
    assert curves_png(rows(3, train_loss=loss), best_epoch=2).startswith(b"\x89PNG")


def test_the_same_rows_are_the_same_bytes() -> None:
    assert curves_png(rows(3), 2) == curves_png(rows(3), 2)


def test_the_legend_does_not_cover_a_low_accuracy() -> None:
    png = curves_png(rows(3, train_top1=None, val_top1=0.1), best_epoch=3)
    with Image.open(io.BytesIO(png)) as image:
        end = np.asarray(image.convert("RGB"))[:, 1000:1060]  # before the last epoch
    assert (end == ORANGE).all(axis=2).sum() > 50
