"""Sheets of images: everything has its place, and text stays within it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from cnn_cli.report.pictures import paper
from cnn_cli.report.pictures.paper import PAPER, enlarged, legible
from cnn_cli.report.pictures.sheet import BESIDE, Tile, sheet_png

OWN = "Aileron"


def draw(tiles: list[Tile], columns: int) -> Image.Image:
    return Image.open(io.BytesIO(sheet_png(tiles, columns, "title", "subtitle"))).convert("RGB")


def test_pictures_are_where_they_belong() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [
        Tile(
            (Image.new("RGB", (50, 40), color), Image.new("RGB", (50, 40), "yellow")),
            (("x", ""), ("y", "")),
        )
        for color in colors
    ]
    pixels = np.asarray(draw(tiles, 2))
    places = [np.argwhere((pixels == color).all(axis=2)) for color in colors]
    for place in places:
        assert len(place) == 50 * 40
    first, second, third = (place.min(axis=0) for place in places)
    assert first[0] == second[0] < third[0]
    assert first[1] == third[1] < second[1]
    yellow = np.argwhere((pixels == (255, 255, 0)).all(axis=2))
    assert len(yellow) == 3 * 50 * 40
    assert yellow.min(axis=0)[1] == first[1] + 50 + BESIDE


def test_long_text_leaves_the_edge_white() -> None:
    tile = Tile(
        (Image.new("RGB", (60, 60)),), (("a very long line of text " * 9, " 0.5"), ("b\n\x1b", ""))
    )
    pixels = np.asarray(draw([tile], 5))
    assert (pixels[:, -10:] == 255).all()
    assert PAPER == "#ffffff"


def test_small_pictures_are_enlarged_by_whole_numbers() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    picture = np.asarray(enlarged(pixels, 10))
    np.testing.assert_array_equal(picture[..., 0], np.kron(pixels[..., 0], np.ones((4, 4))))
    assert enlarged(np.zeros((30, 20, 3), np.uint8), 10).size == (20, 30)


def test_letters_that_the_own_font_lacks_come_from_another() -> None:
    assert family("a plain name…") == ("a plain name…", OWN)
    pytest.importorskip("matplotlib")
    assert family("Bär, Ж, α") == ("Bär, Ж, α", "DejaVu Sans")


def test_without_another_font_accents_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "_find", lambda name, size: None)
    assert family("Bär und Élan") == ("Bar und Elan", OWN)


def family(text: str) -> tuple[str, str | None]:
    """Return the text, and the name of the font."""
    written, font = legible(text, 14)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return written, font.getname()[0]
