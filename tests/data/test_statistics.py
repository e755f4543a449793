"""Mean and standard deviation against float64 arithmetic over all pixels at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import Pixels, encoded, noise
from PIL import Image

from cnn_cli.data import statistics
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.depth import FULL_SCALE, Depth
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.statistics import add_sums, channel_sums, mean_and_std
from cnn_cli.errors import DataError


def save_all(folder: Path, images: list[Pixels]) -> list[str]:
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encoded(Image.fromarray(image)))
    return [str(path) for path in paths]


def measure(cache: ImageCache, n: int, threads: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return mean_and_std(channel_sums(cache, np.arange(n), threads), cache.paths[:n])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("block", [1, 300, 2**16])
def test_against_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, block: int
) -> None:
    monkeypatch.setattr(statistics, "BLOCK", block)
    images = [noise(7, 9, channels, seed) // (1 + seed) for seed in range(11)]
    paths = save_all(tmp_path, images)
    pixels = np.stack(images).reshape(-1, channels) / 255
    found = set()
    for threads in (1, 3):
        cache = ImageCache.open("none", paths, Preprocess(7, 9, channels))
        mean, std = measure(cache, 11, threads)
        np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-12)
        found.add((mean, std))
    assert len(found) == 1


def test_fills_the_cache_and_reports_progress(tmp_path: Path) -> None:
    paths = save_all(tmp_path, [noise(4, 4, 1, seed) for seed in range(5)])
    cache = ImageCache.open("ram", paths, Preprocess(4, 4, 1))
    done: list[int] = []
    channel_sums(cache, np.arange(3), 2, done.append)
    assert sum(done) == 3
    assert cache.missing(np.arange(5)).tolist() == [3, 4]


def test_bad_images_are_left_out(tmp_path: Path) -> None:
    paths = save_all(tmp_path, [np.full((2, 2), shade, np.uint8) for shade in (0, 9, 255)])
    Path(paths[1]).write_bytes(b"no image")
    cache = ImageCache.open("ram", paths, Preprocess(2, 2, 1))
    assert measure(cache, 3, 2) == ((0.5,), (0.5,))
    assert list(cache.bad) == [1]


def test_one_color_deviates_by_a_gray_level(tmp_path: Path) -> None:
    paths = save_all(tmp_path, [np.full((2, 2), 51, np.uint8)])
    cache = ImageCache.open("ram", paths, Preprocess(2, 2, 3))
    assert measure(cache, 1, 1) == ((0.2, 0.2, 0.2), (1 / 255, 1 / 255, 1 / 255))


def test_no_image_can_be_read(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    cache = ImageCache.open("ram", paths, Preprocess(2, 2, 1))
    with pytest.raises(DataError) as caught:
        measure(cache, 2, 1)
    assert caught.value.line() == (f"{tmp_path}: must hold a readable image. Got 2 that cannot.")


@pytest.mark.parametrize(("dtype", "depth"), [(np.uint16, 16), (np.float32, "float")])
@pytest.mark.parametrize("block", [1, 2**16])
def test_other_numbers_against_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, depth: Depth, block: int
) -> None:
    monkeypatch.setattr(statistics, "BLOCK", block)
    rng = np.random.default_rng(0)
    images = [rng.normal(30_000, 1000 * (1 + i), (7, 9, 2)).astype(dtype) for i in range(9)]
    paths = [str(tmp_path / f"{i}.npy") for i in range(9)]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    pixels = np.stack(images).reshape(-1, 2).astype(np.float64) / FULL_SCALE[depth]
    pre = Preprocess(7, 9, 2, "crop", depth)
    found = set()
    for threads, order in ((1, range(9)), (3, range(9)), (2, range(8, -1, -1))):
        cache = ImageCache.open("none", paths, pre)
        sums = channel_sums(cache, np.array(order), threads)
        found.add(mean_and_std(sums, paths, depth))
    ((mean, std),) = found
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-7)
    # Sums of parts, as on ranks, equal those of all images.
    parts = [channel_sums(cache, part, 1) for part in (np.arange(4), np.arange(4, 9))]
    assert mean_and_std(add_sums(parts), paths, depth) == (mean, std)


def test_sums_do_not_overflow() -> None:
    n = 2**40
    sums = np.array([[n], [n * 65535], [n * 65535**2]], object)
    assert mean_and_std(sums, ["a"], 16) == ((1.0,), (1 / 65535,))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (0.0, (5, 7)),
        (-7.25, (5, 7)),
        (1e6 / 3, (5, 7)),
        (0.7, (99, 101)),
    ],  # the last sum is rounded
)
def test_the_same_number_everywhere_deviates_by_one(
    tmp_path: Path, value: float, shape: tuple[int, int]
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.full(shape, value))
    cache = ImageCache.open("ram", [str(path)], Preprocess(*shape, 1, "crop", "float"))
    (mean,), std = mean_and_std(channel_sums(cache, np.arange(1), 1), [str(path)], "float")
    assert mean == pytest.approx(value, rel=1e-6)
    assert std == (1.0,)
