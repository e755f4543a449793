"""Decoded images are cached if there is room, and decoded once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from data_samples import make_folders, noise, save_gray
from PIL import Image

from cnn_cli import portable
from cnn_cli.data import cache as cache_module
from cnn_cli.data import image_store
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.decode import load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.image_store import CacheMode, Kept
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import ConfigError, DataError, ExitCode

PRE = Preprocess(4, 4, 1)
T = TypeVar("T")


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    make_folders(tmp_path, {"a": 5})
    return [str(path) for path in sorted((tmp_path / "a").iterdir())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Here:
    """Two processes on one computer, simulated one after another."""

    neighbors = 2

    def __init__(self, *said: Any) -> None:
        self.said = [*said]

    def first_here(self, make: Callable[[], T]) -> T:
        if not self.said:
            self.said.append(make())
        found: T = self.said[0]
        return found


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    loaded: list[str] = []

    def load(path: str, pre: Preprocess, **options: Any) -> Pixels:
        loaded.append(path)
        return load_image(path, pre, **options)

    monkeypatch.setattr(cache_module, "load_image", load)
    return loaded


@pytest.mark.parametrize(("mode", "decodes"), [("ram", 5), ("disk", 5), ("none", 10)])
def test_images_and_how_often_they_are_decoded(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, mode: CacheMode, decodes: int
) -> None:
    loaded = count_loads(monkeypatch)
    with ImageCache.open(mode, paths, PRE, folder=folder) as cache:
        assert cache.mode == mode
        assert len(cache) == 5
        assert cache.nbytes == (0 if mode == "none" else 5 * 16)
        for _ in range(2):
            for i, path in enumerate(paths):
                np.testing.assert_array_equal(cache.get(i), load_image(path, PRE))
    assert len(loaded) == decodes


def test_missing_and_gather(paths: list[str]) -> None:
    Path(paths[1]).write_bytes(b"no image")
    cache = ImageCache.open("ram", paths, PRE)
    order = np.array([4, 1, 0])
    assert cache.missing(order).tolist() == [4, 1, 0]
    cache.get(4)
    with pytest.raises(ImageError):
        cache.get(1)
    assert cache.missing(order).tolist() == [0]
    assert cache.readable(order).tolist() == [True, False, True]
    cache.get(0)
    out = np.empty((3, 4, 4, 1), np.uint8)
    cache.gather(np.array([4, 0, 4]), out)
    np.testing.assert_array_equal(out, [cache.get(4), cache.get(0), cache.get(4)])


def test_bad_images_are_remembered(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path(paths[2]).write_bytes(b"no image")
    loaded = count_loads(monkeypatch)
    cache = ImageCache.open("ram", paths, PRE)
    line = f"{paths[2]}: not an image Pillow can read."
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            cache.get(2)
        assert caught.value.line() == line
    assert loaded == [paths[2]]
    assert {i: error.line() for i, error in cache.bad.items()} == {2: line}
    assert cache.bad[2].__traceback__ is None


@pytest.mark.parametrize(("budget", "mode"), [(80, "ram"), (79, "disk"), (0, "disk")])
def test_auto_takes_memory_within_the_budget(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, budget: int, mode: str
) -> None:
    monkeypatch.setattr(image_store, "in_memory", lambda _: False)
    with ImageCache.open("auto", paths, PRE, budget, folder) as cache:
        assert cache.mode == mode


def test_auto_budget_is_half_of_what_is_available(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "in_memory", lambda _: False)
    for available, mode in ((160, "ram"), (159, "disk")):
        monkeypatch.setattr(image_store, "available_memory", lambda value=available: value)
        with ImageCache.open("auto", paths, PRE, folder=folder) as cache:
            assert cache.mode == mode


def limit_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = type(shutil.disk_usage("/"))(1000, 1000 - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_auto_falls_back_to_nothing(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "in_memory", lambda _: False)
    limit_disk(monkeypatch, 160)
    with ImageCache.open("auto", paths, PRE, 0, folder) as cache:
        assert cache.mode == "disk"
    limit_disk(monkeypatch, 159)
    with ImageCache.open("auto", paths, PRE, 0, folder) as cache:
        assert cache.mode == "none"
    limit_disk(monkeypatch, 1000)
    monkeypatch.setattr(image_store, "in_memory", lambda _: True)
    with ImageCache.open("auto", paths, PRE, 0, folder) as cache:
        assert cache.mode == "none"


def test_auto_falls_back_where_the_folder_cannot_be_made(paths: list[str], folder: Path) -> None:
    folder.touch()
    with ImageCache.open("auto", paths, PRE, 0, folder) as cache:
        assert cache.mode == "none"


def test_ram_that_does_not_fit(paths: list[str]) -> None:
    pre = Preprocess(20_000, 20_000, 3)
    with pytest.raises(ConfigError) as caught:
        ImageCache.open("ram", paths, pre, 10**9)
    assert caught.value.line() == (
        "data.cache: must be auto, disk or none if decoded images do not fit in memory. "
        "Got ram, which takes 6.0 GB of 1.0 GB."
    )
    assert caught.value.code == ExitCode.CONFIG


def test_disk_that_does_not_fit(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_disk(monkeypatch, 10**9)
    with pytest.raises(DataError) as caught:
        ImageCache.open("disk", paths, Preprocess(20_000, 20_000, 3), folder=folder)
    assert caught.value.line() == (
        "data.cache: must be auto or none if the disk has too little space. "
        f"Got 1.0 GB free in {folder} and 6.0 GB needed."
    )
    assert caught.value.code == ExitCode.DATA
    folder.rmdir()
    folder.touch()
    with pytest.raises(DataError) as caught:
        ImageCache.open("disk", paths, PRE, folder=folder)
    assert caught.value.line() == (
        "data.cache: must be auto or none if the disk has too little space. "
        f"Got {folder}: file exists."
    )


def test_the_file_has_no_name_and_goes_with_the_cache(paths: list[str], folder: Path) -> None:
    def files() -> int:
        return len(os.listdir("/dev/fd"))

    before = files()
    cache = ImageCache.open("disk", paths, PRE, folder=folder)
    assert list(folder.iterdir()) == []
    assert files() == before + 1
    cache.get(3)
    cache.close()
    assert files() == before
    assert cache.mode == "none"
    assert cache.get(3).shape == (4, 4, 1)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve blocks")
def test_the_file_has_its_blocks() -> None:
    with tempfile.TemporaryFile() as file:
        portable.reserve(file.fileno(), 1_000_000)
        status = os.fstat(file.fileno())
        assert status.st_size == 1_000_000
        assert status.st_blocks * 512 >= 1_000_000


def test_no_images_at_all(folder: Path) -> None:
    modes: tuple[CacheMode, ...] = ("auto", "ram", "disk", "none")
    for mode in modes:
        with ImageCache.open(mode, [], PRE, folder=folder) as cache:
            assert len(cache) == 0


def test_tiny_files_are_decoded_by_one_thread(tmp_path: Path) -> None:
    small = [str(save_gray(tmp_path / f"{i}.png")) for i in range(3)]
    assert ImageCache.open("none", small, PRE).useful_threads(8) == 1
    large = tmp_path / "large.png"
    Image.fromarray(noise(100, 100, 1)).save(large)
    assert ImageCache.open("none", [str(large)] * 3, PRE).useful_threads(8) == 8
    assert ImageCache.open("none", [str(tmp_path / "gone")], PRE).useful_threads(8) == 8


needs_shared_files = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no files in memory"
)


@needs_shared_files
@pytest.mark.parametrize("mode", ["ram", "disk"])
def test_neighbors_keep_images_once(
    paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, mode: Kept
) -> None:
    loaded, here = count_loads(monkeypatch), Here()
    one, other = (
        ImageCache.open(mode, paths, PRE, folder=folder, aspects=True, here=here) for _ in range(2)
    )
    assert (one.mode, other.mode) == (mode, mode)
    image = one.get(1)
    np.testing.assert_array_equal(other.get(1), image)
    assert other.missing(np.arange(5)).tolist() == [0, 2, 3, 4]
    assert loaded == [paths[1]]
    assert other.aspects is not None
    assert other.aspects.tolist() == [1.0] * 5
    one.close()
    np.testing.assert_array_equal(other.get(1), image)
    other.close()
    assert len(loaded) == 1


@needs_shared_files
def test_neighbors_of_another_container_keep_their_own(paths: list[str]) -> None:
    with ImageCache.open("ram", paths, PRE, here=Here(("ram", "/proc/1/fd/gone"))) as cache:
        assert cache.mode == "ram"
        assert len(cache.missing(np.arange(5))) == 5


def test_neighbors_without_a_cache(paths: list[str]) -> None:
    here = Here()
    modes = {ImageCache.open("none", paths, PRE, here=here).mode for _ in range(2)}
    assert modes == {"none"}
    assert ImageCache.open("ram", [], PRE, here=here).mode == "ram"
