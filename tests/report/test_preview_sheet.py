"""The sheet of `cnn data preview`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from data_samples import noise
from numpy.typing import NDArray
from PIL import Image, ImageFont

from cnn_cli.report.pictures.paper import GAP, MARGIN, shortened
from cnn_cli.report.pictures.preview_sheet import (
    BAR,
    COLORS,
    draw_preview,
    percent_text,
    preview_png,
)
from cnn_cli.training.preview import Preview, Sample


def preview_of(*labels: tuple[tuple[str, float], ...], side: int, channels: int) -> Preview:
    samples = tuple(
        Sample(f"{i}.png", noise(side, side, channels, i).reshape(side, side, channels), names)
        for i, names in enumerate(labels)
    )
    return Preview(("cat", "dog"), 99, samples)


CAT, BOTH = (("cat", 1.0),), (("cat", 0.25), ("dog", 0.75))


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


@pytest.mark.parametrize(("side", "factor"), [(28, 4), (40, 3), (112, 1), (224, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_a_square(side: int, factor: int, channels: int) -> None:
    preview = preview_of(CAT, CAT, BOTH, side=side, channels=channels)
    sheet = pixels_of(preview_png(preview, 2, "title", "subtitle"))
    drawn = draw_preview(preview, 2, "title", "subtitle")
    for number, (sample, column) in enumerate(zip(preview.samples, (0, 1, 0), strict=True)):
        x = MARGIN + column * (side * factor + GAP)
        y = drawn.corner(number)[1]
        tile = sheet[y : y + side * factor, x : x + side * factor]
        expected = sample.pixels.repeat(factor, axis=0).repeat(factor, axis=1)
        np.testing.assert_array_equal(tile, np.broadcast_to(expected, tile.shape))


def test_the_bar_shows_the_shares() -> None:
    preview = preview_of(BOTH, (("dog", 0.999), ("cat", 0.001)), side=112, channels=1)
    sheet = draw_preview(preview, 2, "", "")
    line = np.asarray(sheet.image)[
        sheet.corner(0)[1] + 112 + BAR // 2, MARGIN : MARGIN + 2 * 112 + GAP
    ]
    colors = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in line.tolist()]
    assert colors == [COLORS[0]] * 28 + [COLORS[1]] * 84 + ["#ffffff"] * GAP + [COLORS[1]] * 112


def test_odd_names_are_written_somehow() -> None:
    names = ("a\nb", "\udcff", "猫", "a name that is much too long for a picture of its size")
    labels = [((name, 0.5), ("cat", 0.5)) for name in names]
    samples = preview_of(*labels, side=8, channels=1).samples
    assert preview_png(Preview((*names, "cat"), 4, samples), 4, "\x1b[31m", "-").startswith(
        b"\x89PNG"
    )


def test_long_names_are_cut_in_their_middle() -> None:
    font = ImageFont.load_default(14)
    assert shortened("cat", font, 100) == "cat"
    found = [shortened(f"a very long class name, {which}", font, 100) for which in "AB"]
    assert [text[0] + text[-1] for text in found] == ["aA", "aB"]
    assert all("…" in text and 80 < font.getlength(text) <= 100 for text in found)
    assert shortened("ab", font, 1) == "…"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.001, "<1%"), (0.01, "1%"), (0.254, "25%"), (0.99, "99%"), (0.9999, ">99%")],
)
def test_percents(share: float, text: str) -> None:
    assert percent_text(share) == text
