"""random_resized_crop, against torchvision's choice, and the cached images."""

from __future__ import annotations

from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, noise
from PIL import Image

from cnn_cli.data.augment import RandomResizedCrop, kept_preprocess
from cnn_cli.data.augment.crop import CROP, RandomResizedCropConfig, choose_part
from cnn_cli.data.augment.draws import stream_for
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.depth import Pixels
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.nn.kernels.resample import Resampling

CONFIG = RandomResizedCropConfig()
LOOPS = Resampling(lambda loop: loop)


def cropped(
    crop: RandomResizedCrop,
    kept: Pixels,
    aspect: float,
    index: int,
    epoch: int,
    mirror: bool = False,
) -> Pixels:
    out = np.empty(crop.shape, kept.dtype)
    crop(kept, aspect, index, epoch, out, mirror=mirror)
    return out


def torchvision_part(
    config: RandomResizedCropConfig, width: float, height: float, numbers: list[float]
) -> tuple[float, float]:
    """`RandomResizedCrop.get_params` in pixels, not rounded."""
    for share, shape in zip(numbers[::2], numbers[1::2], strict=True):
        area = width * height * (config.scale[0] + share * (config.scale[1] - config.scale[0]))
        low, high = log(config.ratio[0]), log(config.ratio[1])
        ratio = exp(low + shape * (high - low))
        w, h = sqrt(area * ratio), sqrt(area / ratio)
        if 0 < w <= width and 0 < h <= height:
            return w, h
    if width / height < config.ratio[0]:
        return width, width / config.ratio[0]
    if width / height > config.ratio[1]:
        return height * config.ratio[1], height
    return width, height


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (300, 300), (1000, 20), (20, 1000)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0), (1.0, 1.0)])
def test_parts_are_chosen_as_in_torchvision(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    config = RandomResizedCropConfig(scale=scale)
    rng = np.random.default_rng(0)
    for _ in range(100):
        numbers = rng.random(20).tolist()
        width, height = choose_part(config, size[0] / size[1], numbers)
        expected = torchvision_part(config, *size, numbers)
        assert (width * size[0], height * size[1]) == pytest.approx(expected, rel=1e-12)


def test_areas_ratios_and_places() -> None:
    """A map of positions shows which part was used."""
    kept = np.zeros((256, 256, 3), np.uint8)
    kept[..., 0] = np.arange(256)
    kept[..., 1] = np.arange(256)[:, None]
    crop = RandomResizedCrop(CONFIG, 0, Preprocess(16, 16, 3))
    areas, lefts = [], []
    for index in range(300):
        out = cropped(crop, kept, 2.0, index, 0).astype(float)  # for an image twice as wide
        assert out.shape == (16, 16, 3)
        width = (out[8, -1, 0] - out[8, 0, 0]) * 16 / 15 / 256
        height = (out[-1, 8, 1] - out[0, 8, 1]) * 16 / 15 / 256
        assert 0.6 < 2 * width / height < 1.6
        areas.append(width * height)
        lefts.append(out[8, 0, 0] / 256 / max(1 - width, 1e-9))
    assert 0.06 < min(areas) < 0.15
    assert max(areas) < 0.75  # 4/3 by 1 of 2 by 1
    assert 0.4 < np.mean(lefts) < 0.6


def test_the_pixels_are_pillows() -> None:
    kept = noise(40, 50, 3)
    crop = RandomResizedCrop(CONFIG, 9, Preprocess(12, 10, 3))
    for index in range(5):
        numbers = stream_for(9, CROP, 2, index).random(22).tolist()
        width, height = choose_part(CONFIG, 1.5, numbers[2:])
        w, h = round(50 * width), round(40 * height)
        left, top = int(numbers[0] * (51 - w)), int(numbers[1] * (41 - h))
        part = Image.fromarray(kept).crop((left, top, left + w, top + h))
        expected = np.asarray(part.resize((10, 12), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(cropped(crop, kept, 1.5, index, 2), expected)
        mirrored = cropped(crop, kept, 1.5, index, 2, mirror=True)
        np.testing.assert_array_equal(mirrored, expected[:, ::-1])


@pytest.mark.parametrize("kept_size", [(40, 50), (12, 10), (9, 60), (3, 2)])
def test_a_compiled_resampling_gives_the_same_bits(kept_size: tuple[int, int]) -> None:
    kept = noise(*kept_size, 3)
    pre = Preprocess(12, 10, 3)
    pillow, loops = RandomResizedCrop(CONFIG, 9, pre), RandomResizedCrop(CONFIG, 9, pre, LOOPS)
    for index in range(3):
        for mirror in (False, True):
            expected = cropped(pillow, kept, 1.5, index, 2, mirror)
            found = cropped(loops, kept, 1.5, index, 2, mirror)
            np.testing.assert_array_equal(found, expected)


def test_a_resampling_with_other_bits_than_pillows_is_left_alone() -> None:
    calls: list[tuple[int, int, int, int]] = []

    def near(
        x: Pixels, box: tuple[int, int, int, int], out: Pixels, *, mirror: bool, rows_first: bool
    ) -> None:
        calls.append(box)
        LOOPS(x, box, out, mirror=mirror, rows_first=rows_first)
        out[0, 0, 0] ^= 1

    crop = RandomResizedCrop(CONFIG, 9, Preprocess(6, 4, 3), near)
    assert len(calls) == 1
    cropped(crop, noise(9, 9, 3), 1.0, 0, 0)
    assert len(calls) == 1


def test_bands_that_pillow_has_no_mode_for_are_mirrored() -> None:
    crop = RandomResizedCrop(CONFIG, 0, Preprocess(6, 4, 2, depth=16), LOOPS)
    kept = np.stack([noise(9, 9, 1), noise(9, 9, 1, seed=1)], axis=2).astype(np.uint16)
    plain = cropped(crop, kept, 1.0, 0, 0)
    np.testing.assert_array_equal(cropped(crop, kept, 1.0, 0, 0, mirror=True), plain[:, ::-1])


def test_gray_and_tiny_images() -> None:
    crop = RandomResizedCrop(CONFIG, 0, Preprocess(6, 4, 1))
    gray = noise(9, 9, 1)[..., None]
    plain = cropped(crop, gray, 1.0, 0, 0)
    np.testing.assert_array_equal(cropped(crop, gray, 1.0, 0, 0, mirror=True), plain[:, ::-1])
    kept = np.full((1, 1, 1), 7, np.uint8)
    assert (cropped(crop, kept, 300.0, 0, 0) == 7).all()


def save(folder: Path, *sizes: tuple[int, int]) -> list[str]:
    paths = []
    for i, (width, height) in enumerate(sizes):
        paths.append(str(folder / f"{i}.png"))
        Path(paths[-1]).write_bytes(encoded(Image.new("RGB", (width, height))))
    return paths


def test_large_images_are_kept_larger_than_the_network_takes_them(tmp_path: Path) -> None:
    """A part of the mean area has as many pixels as the network's input."""
    paths = save(tmp_path, (500, 375), (400, 600))
    pre = Preprocess(224, 112, 3)
    kept = kept_preprocess(CONFIG, pre, paths)
    assert kept == Preprocess(305, 153, 3, "squash")
    assert kept.height * kept.width * (0.08 + 1) / 2 == pytest.approx(224 * 112, rel=0.01)
    whole = RandomResizedCropConfig(scale=(1.0, 1.0))
    assert kept_preprocess(whole, pre, paths) == Preprocess(224, 112, 3, "squash")


def test_small_images_are_kept_as_they_are(tmp_path: Path) -> None:
    paths = save(tmp_path, (32, 32), (30, 32))
    (tmp_path / "bad.png").write_bytes(b"no image")
    kept = kept_preprocess(CONFIG, Preprocess(32, 32, 3), [*paths, str(tmp_path / "bad.png")])
    assert kept == Preprocess(32, 32, 3, "squash")


def test_the_cache_remembers_shapes_as_they_are_seen(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    (tmp_path / "turned.jpg").write_bytes(encoded(image, "JPEG", exif=exif))
    (tmp_path / "plain.jpg").write_bytes(encoded(image, "JPEG"))
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    paths = [str(tmp_path / name) for name in ("turned.jpg", "plain.jpg", "bad.jpg")]
    cache = ImageCache.open("ram", paths, Preprocess(8, 8, 3, "squash"), aspects=True)
    assert cache.aspects is not None
    for i in (0, 1):
        cache.get(i)
    assert cache.aspects.tolist() == [20 / 30, 30 / 20, 1.0]
    assert ImageCache.open("ram", paths, Preprocess(8, 8, 3)).aspects is None


def test_narrow_images_are_not_kept_wider_than_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 30)).save(path)
    kept = kept_preprocess(RandomResizedCropConfig(), Preprocess(8, 8, 3), [str(path)])
    assert (kept.height, kept.width, kept.resize_mode) == (11, 9, "squash")
