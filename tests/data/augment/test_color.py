"""Colors and geometry through Pillow, against formulas in NumPy."""

from __future__ import annotations

import colorsys
from collections import Counter
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data_samples import noise
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from cnn_cli.data.augment import trivial
from cnn_cli.data.augment.color import COLOR_JITTER, ColorJitter, ColorJitterConfig, turn_hue
from cnn_cli.data.augment.draws import stream_for
from cnn_cli.data.augment.rotate import ROTATE, rotation

IMAGE = Image.fromarray(noise(12, 10, 3, seed=1))
GRAY = Image.fromarray(noise(12, 10, 1, seed=2))
LUMA = np.array([0.299, 0.587, 0.114])

Floats = NDArray[np.float64]


def array(image: Image.Image) -> Floats:
    return np.asarray(image).astype(np.float64)


def gray(x: Floats) -> Floats:
    """ITU-R 601 luma, rounded, for every channel."""
    return np.floor(x @ LUMA + 0.5)[..., None].repeat(3, axis=-1) if x.ndim == 3 else x


def mixed(x: Floats, other: Any, factor: float) -> Floats:
    """ImageEnhance: from the degenerate image to the original and beyond."""
    y: Floats = np.clip(other + factor * (x - other), 0, 255)
    return y


FORMULAS: dict[str, Any] = {
    "brightness": lambda x, factor: mixed(x, 0.0, factor),
    "contrast": lambda x, factor: mixed(x, int(gray(x).mean() + 0.5), factor),
    "saturation": lambda x, factor: mixed(x, gray(x), factor),
}


@pytest.mark.parametrize("which", list(FORMULAS))
def test_jitter_of_one_kind(which: str) -> None:
    """Factors are drawn between max(0, 1 - x) and 1 + x."""
    jitter = ColorJitter(ColorJitterConfig(**{which: 1.5}))
    position = list(FORMULAS).index(which)
    factors = []
    for index in range(50):
        factor = 2.5 * stream_for(0, COLOR_JITTER, 0, index).random(4)[position]
        out = jitter(IMAGE, stream_for(0, COLOR_JITTER, 0, index))
        np.testing.assert_allclose(array(out), FORMULAS[which](array(IMAGE), factor), atol=1.01)
        factors.append(factor)
    assert min(factors) < 0.2
    assert max(factors) > 2.3


def test_hue() -> None:
    """Against the standard library's HSV, of which Pillow rounds each component to 8 bits."""
    x = np.array([[[200, 100, 50], [10, 220, 40], [120, 120, 120]]], np.uint8)
    out = array(turn_hue(Image.fromarray(x), 0.25))
    for pixel, found in zip(x[0] / 255, out[0] / 255, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        assert found == pytest.approx(colorsys.hsv_to_rgb((h + 0.25) % 1, s, v), abs=0.04)
    assert turn_hue(GRAY, 0.25) is GRAY


def test_the_order_is_random() -> None:
    """One of six orders: each gives other bytes, because every step rounds."""
    everything = ColorJitter(ColorJitterConfig(brightness=0.4, contrast=0.4, saturation=0.4))
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    reached = set()
    for index in range(40):
        factors = 0.6 + 0.8 * stream_for(0, COLOR_JITTER, 0, index).random(4)
        out = everything(IMAGE, stream_for(0, COLOR_JITTER, 0, index))
        for order in permutations(range(3)):
            y = IMAGE
            for position in order:
                y = kinds[position](y).enhance(float(factors[position]))
            if y.tobytes() == out.tobytes():
                reached.add(order)
                break
        else:
            raise AssertionError(f"image {index} is of no order")
    assert len(reached) == 6


def test_rotation() -> None:
    """A marked square moves around the center by the drawn angle."""
    image = Image.new("L", (41, 41))
    image.paste(255, (33, 18, 38, 23))
    angles = []
    for index in range(30):
        angle = stream_for(0, ROTATE, 0, index).uniform(-30, 30)
        out = array(rotation(30.0)(image, stream_for(0, ROTATE, 0, index)))
        y, x = (np.indices(out.shape) * out).sum(axis=(1, 2)) / out.sum()
        assert np.degrees(np.arctan2(20 - y, x - 20)) == pytest.approx(angle, abs=2)
        angles.append(angle)
    assert min(angles) < -25
    assert max(angles) > 25


def position_map() -> Image.Image:
    """Return the (x, y) of each pixel in red and green, from 1 on so that black is outside."""
    x = np.zeros((64, 64, 3), np.uint8)
    x[..., 0] = 1 + np.arange(64)
    x[..., 1] = 1 + np.arange(64)[:, None]
    return Image.fromarray(x)


@pytest.mark.parametrize(
    ("act", "level", "source"),
    [
        (trivial._shear_x, 0.3, lambda x, y: (x + 0.3 * y, y)),
        (trivial._shear_y, -0.3, lambda x, y: (x, y - 0.3 * x)),
        (trivial._translate_x, 5.9, lambda x, y: (x - 5, y)),
        (trivial._translate_y, -32.0, lambda x, y: (x, y + 32)),
    ],
)
def test_geometry_takes_the_nearest_pixel(act: Any, level: float, source: Any) -> None:
    out = np.asarray(act(position_map(), level))
    for y in range(64):
        for x in range(64):
            from_x, from_y = source(x + 0.5, y + 0.5)
            inside = 0 <= from_x < 64 and 0 <= from_y < 64
            expected = (1 + int(from_x), 1 + int(from_y)) if inside else (0, 0)
            np.testing.assert_allclose(out[y, x, :2], expected, atol=1 if inside else 0)


def equalized(channel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (channel.size - counts[channel.max()]) // 255
    table = [(step // 2 + int(counts[:level].sum())) // step for level in range(256)]
    return np.array(table).clip(0, 255)[channel].astype(np.uint8)


def stretched(channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    low, high = int(channel.min()), int(channel.max())
    return (channel.astype(np.float64) - low) * 255 / (high - low)


def test_the_other_operations() -> None:
    image = Image.fromarray(noise(40, 40, 3) // 2 + 30)
    x = np.asarray(image)
    np.testing.assert_array_equal(trivial._posterize(image, 6), x & 0b11000000)
    np.testing.assert_array_equal(trivial._posterize(image, 0), x)
    solarized = np.asarray(trivial._solarize(image, 155.0))
    np.testing.assert_array_equal(solarized, np.where(x >= 100, 255 - x, x))
    auto, equal = (np.asarray(act(image, 0)) for act in (trivial._autocontrast, trivial._equalize))
    for c in range(3):
        np.testing.assert_allclose(auto[..., c], stretched(x[..., c]), atol=1)
        np.testing.assert_array_equal(equal[..., c], equalized(x[..., c]))
    turned = trivial._rotate(position_map(), 90)
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(position_map())))
    blurred = np.asarray(trivial._sharpness(image, -1.0)).astype(float)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    middle = sum(
        kernel[i, j] * x[i : i + 38, j : j + 38].astype(float) for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(blurred[1:-1, 1:-1], middle, atol=1)
    for act, formula in (
        (trivial._brightness, "brightness"),
        (trivial._contrast, "contrast"),
        (trivial._color, "saturation"),
    ):
        expected = FORMULAS[formula](x.astype(float), 0.3)
        # Pillow rounds the gray image and truncates the result.
        np.testing.assert_allclose(np.asarray(act(image, -0.7)), expected, atol=2)


# Müller and Hutter 2021, table 1 (wide), as torchvision's `_augmentation_space` has it.
TABLE = {
    "identity": (0, False),
    "shear_x": (0.99, True),
    "shear_y": (0.99, True),
    "translate_x": (32, True),
    "translate_y": (32, True),
    "rotate": (135, True),
    "brightness": (0.99, True),
    "color": (0.99, True),
    "contrast": (0.99, True),
    "sharpness": (0.99, True),
    "posterize": (6, False),
    "solarize": (255, False),
    "autocontrast": (0, False),
    "equalize": (0, False),
}


def test_one_operation_of_one_of_31_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, float]] = []

    def noted(name: str) -> Any:
        def act(image: Image.Image, level: float) -> Image.Image:
            found.append((name, level))
            return image

        return act

    named = {
        act.__name__.strip("_"): (most, either_side)
        for act, most, either_side in trivial.OPERATIONS
    }
    assert named == TABLE
    monkeypatch.setattr(
        trivial, "OPERATIONS", tuple((noted(name), *rest) for name, rest in named.items())
    )
    for index in range(6000):
        trivial.trivial_augment(IMAGE, stream_for(0, trivial.TRIVIALAUGMENT, 0, index))
    assert len(found) == 6000
    assert set(Counter(name for name, _ in found)) == set(TABLE)
    assert min(Counter(name for name, _ in found).values()) > 6000 / 14 - 100
    for name, (most, either_side) in TABLE.items():
        levels = sorted({round(level, 9) for which, level in found if which == name})
        if most:
            strengths = np.linspace(0, most, 31)
            both = np.union1d(strengths, -strengths) if either_side else strengths
            np.testing.assert_allclose(levels, both, atol=1e-6)


@pytest.mark.parametrize("act", [act for act, _, _ in trivial.OPERATIONS])
def test_operations_take_gray_images_too(act: Any) -> None:
    out = act(GRAY, 0.5)
    assert (out.mode, out.size) == ("L", GRAY.size)


@pytest.mark.parametrize(("drawn", "levels"), [(0.0, -25), (0.999999, 25)])
def test_hue_turns_to_both_sides_in_whole_levels_as_in_torchvision(
    drawn: float, levels: int
) -> None:
    """0.1 of 255 levels are 25.5, cut to 25."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    numbers: Any = SimpleNamespace(random=lambda shape: np.full(shape, drawn))
    found = ColorJitter(ColorJitterConfig(hue=0.1))(image, numbers)
    hue, saturation, value = image.convert("HSV").split()
    turned = Image.fromarray(((np.asarray(hue).astype(int) + levels) % 256).astype(np.uint8))
    expected = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_posterize_rounds_the_bits_as_torchvision() -> None:
    image = Image.fromarray(noise(8, 8, 3))
    for level, bits in ((1.4, 7), (1.8, 6), (6.0, 2)):
        expected = ImageOps.posterize(image, bits)
        assert trivial._posterize(image, level).tobytes() == expected.tobytes()
