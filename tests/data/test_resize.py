"""Sizes and offsets against torchvision's formulas, pixels against Pillow's filter."""

from __future__ import annotations

import numpy as np
import pytest
from data_samples import noise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn_cli.data import resize
from cnn_cli.data.resize import center, covering, fit, fit_bands

sides = st.integers(1, 3000)


def torchvision_resize(w: int, h: int, size: int) -> tuple[int, int]:
    """The output size of ``torchvision.transforms.Resize(size)``, (width, height)."""
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = size, int(size * long / short)
    return (new_short, new_long) if w <= h else (new_long, new_short)


@given(w=sides, h=sides, size=st.integers(1, 512))
def test_square_covers_as_torchvision_resizes(w: int, h: int, size: int) -> None:
    assert covering(w, h, size, size) == torchvision_resize(w, h, size)


@given(w=sides, h=sides, width=st.integers(1, 512), height=st.integers(1, 512))
def test_any_box_is_covered_and_touched(w: int, h: int, width: int, height: int) -> None:
    new_w, new_h = covering(w, h, width, height)
    assert new_w >= width
    assert new_h >= height
    assert new_w == width or new_h == height


@pytest.mark.parametrize(
    ("length", "kept", "start"),
    [(10, 4, 3), (9, 4, 2), (11, 4, 4), (7, 4, 2), (5, 4, 0), (4, 4, 0)],
)
def test_center_is_rounded_as_torchvision_does(length: int, kept: int, start: int) -> None:
    assert start == round((length - kept) / 2.0)  # torchvision's center_crop
    assert center(length, kept) == start


@pytest.mark.parametrize("size", [(37, 50), (50, 37), (41, 41), (20, 9)])
@pytest.mark.parametrize("box", [(16, 16), (12, 20), (20, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_resize_then_center_crop(
    size: tuple[int, int], box: tuple[int, int], channels: int
) -> None:
    image = Image.fromarray(noise(*size, channels))
    height, width = box
    w, h = covering(image.width, image.height, width, height)
    scaled = np.asarray(image.resize((w, h), Image.Resampling.BILINEAR))
    top, left = round((h - height) / 2.0), round((w - width) / 2.0)
    expected = scaled[top : top + height, left : left + width]
    np.testing.assert_array_equal(np.asarray(fit(image, box, "crop")), expected)


@pytest.mark.parametrize("box", [None, (40, 2, 640, 9)])
def test_crop_of_a_strip_makes_only_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, box: resize.Box | None
) -> None:
    image = Image.fromarray(noise(10, 900, 3))
    whole = np.asarray(fit(image, (32, 32), "crop", box)).astype(int)
    monkeypatch.setattr(resize, "MOST_PIXELS", 0)
    part = np.asarray(fit(image, (32, 32), "crop", box)).astype(int)
    assert np.abs(whole - part).max() <= 1
    strip = Image.new("L", (2, 60_000), 7)
    assert np.asarray(fit(strip, (224, 224), "crop")).tolist() == [[7] * 224] * 224


def test_squash_ignores_the_ratio() -> None:
    image = Image.fromarray(noise(20, 50, 3))
    expected = np.asarray(image.resize((16, 12), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.asarray(fit(image, (12, 16), "squash")), expected)


def test_letterbox_keeps_all_and_fills_with_gray() -> None:
    image = Image.fromarray(noise(20, 50, 3))
    x = np.asarray(fit(image, (30, 25), "letterbox"))
    expected = np.asarray(image.resize((25, 10), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(x[10:20], expected)
    assert (x[:10] == 114).all()
    assert (x[20:] == 114).all()
    low = Image.fromarray(noise(4, 7, 3))  # 5.7 rows of 10
    rows = np.asarray(fit(low, (10, 10), "letterbox"))[2:8]
    np.testing.assert_array_equal(rows, low.resize((10, 6), Image.Resampling.BILINEAR))
    gray = np.asarray(fit(Image.new("L", (1, 9), 3), (4, 6), "letterbox"))
    assert gray.tolist() == [[114, 114, 3, 114, 114, 114]] * 4


@pytest.mark.parametrize("mode", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (6, 8), (7, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_size_is_always_met(mode: str, size: tuple[int, int], channels: int) -> None:
    image = Image.fromarray(noise(*size, channels))
    fitted = fit(image, (6, 8), mode)  # type: ignore[arg-type]  # parametrize gives plain str
    assert fitted.size == (8, 6)
    assert fitted.mode == image.mode


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = Image.fromarray(noise(6, 8, 3))
    for mode in ("crop", "squash", "letterbox"):
        assert fit(image, (6, 8), mode) is image


def test_a_part_of_an_image_of_the_right_size_is_resized() -> None:
    image, box = Image.fromarray(noise(6, 8, 3)), (1, 1, 7, 5)
    expected = image.resize((8, 6), Image.Resampling.BILINEAR, box)
    np.testing.assert_array_equal(fit(image, (6, 8), "squash", box), expected)


def test_16_bits_are_rounded_to_the_nearest_number() -> None:
    x = np.random.default_rng(0).integers(0, 65536, (9, 7, 2), np.uint16)
    found = fit_bands(x, (4, 5), "squash")
    for i in range(2):
        band = Image.fromarray(x[..., i].astype(np.float32))
        expected = np.asarray(band.resize((5, 4), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[..., i], np.rint(expected))
