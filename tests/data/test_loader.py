"""Batches are the same on any number of threads, and the threads end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_samples import await_threads, make_folders
from numpy.typing import NDArray
from patience import PATIENCE, wait_until

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.image_store import CacheMode
from cnn_cli.data.loader import Loader
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.preprocess import Preprocess

Order = NDArray[np.int64]

PRE = Preprocess(4, 4, 1)
MODES: tuple[CacheMode, ...] = ("ram", "disk", "none")


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return open_dataset(make_folders(tmp_path, {"a": 12, "b": 11}), None, 0).train


@pytest.fixture
def order() -> Order:
    return np.random.default_rng(0).permutation(23)


def loader(
    split: Split, tmp_path: Path, mode: CacheMode = "ram", threads: int = 2, batch_size: int = 5
) -> Loader:
    cache = ImageCache.open(mode, split.paths, PRE, folder=tmp_path / "cache")
    return Loader(split, cache, batch_size, threads)


def spoil(split: Split, *positions: int) -> None:
    for i in positions:
        Path(split.paths[i]).write_bytes(b"no image")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [1, 4])
def test_batches_follow_the_order(
    split: Split, tmp_path: Path, order: Order, mode: CacheMode, threads: int
) -> None:
    ours = loader(split, tmp_path, mode, threads)
    for _ in range(2):
        seen = 0
        for number, batch in enumerate(ours.batches(order)):
            assert batch.number == number
            assert len(batch) == len(batch.images) == (5 if number < 4 else 3)
            np.testing.assert_array_equal(batch.indices, order[seen : seen + len(batch)])
            np.testing.assert_array_equal(batch.labels, split.labels[batch.indices])
            images = [load_image(split.paths[i], PRE) for i in batch.indices]
            np.testing.assert_array_equal(batch.images, images)
            assert batch.images.dtype == np.uint8
            assert batch.labels.dtype == batch.indices.dtype == np.int64
            seen += len(batch)
        assert seen == 23
    assert ours.bad == {}
    await_threads()


def test_starting_later(split: Split, tmp_path: Path, order: Order) -> None:
    batches = list(loader(split, tmp_path).batches(order, skip=3))
    assert [batch.number for batch in batches] == [3, 4]
    assert np.concatenate([batch.indices for batch in batches]).tolist() == order[15:].tolist()
    assert list(loader(split, tmp_path).batches(order, skip=5)) == []


def test_an_order_may_repeat_be_short_or_empty(split: Split, tmp_path: Path) -> None:
    ours = loader(split, tmp_path)
    (batch,) = ours.batches(np.array([3, 3, 7]))
    np.testing.assert_array_equal(batch.images[0], batch.images[1])
    assert list(ours.batches(np.array([], np.int64))) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threads", [1, 4])
def test_bad_images_are_left_out_and_move_no_other(
    split: Split, tmp_path: Path, order: Order, mode: CacheMode, threads: int
) -> None:
    spoiled = [int(i) for i in [*order[5:10], order[2], order[12], order[22]]]
    spoil(split, *spoiled)
    ours = loader(split, tmp_path, mode, threads)
    for _ in range(2):
        found = []
        for batch in ours.batches(order):
            found.append((batch.number, batch.indices.tolist()))
            images = [load_image(split.paths[i], PRE) for i in batch.indices]
            np.testing.assert_array_equal(batch.images, images)
        assert found == [
            (0, order[[0, 1, 3, 4]].tolist()),
            (2, order[[10, 11, 13, 14]].tolist()),
            (3, order[15:20].tolist()),
            (4, order[20:22].tolist()),
        ]
    assert list(ours.bad) == [split.paths[i] for i in order if i in spoiled]
    assert set(ours.bad.values()) == {"not an image Pillow can read"}


@pytest.mark.parametrize("mode", MODES)
def test_bad_images_as_errors(split: Split, tmp_path: Path, order: Order, mode: CacheMode) -> None:
    spoil(split, int(order[7]), int(order[9]))
    ours = loader(split, tmp_path, mode, threads=4)
    ours.on_corrupt = "error"
    batches = ours.batches(order)
    assert len(next(batches)) == 5
    with pytest.raises(ImageError) as caught:
        next(batches)
    assert caught.value.line() == f"{split.paths[order[7]]}: not an image Pillow can read."
    await_threads()


def test_bad_images_are_listed_when_their_batch_is_taken(split: Split, tmp_path: Path) -> None:
    spoil(split, 8)
    ours = loader(split, tmp_path)
    batches = ours.batches(np.arange(23))
    next(batches)
    time.sleep(0.05)  # by now the next batches are ready
    assert ours.bad == {}
    next(batches)
    assert list(ours.bad) == [split.paths[8]]


def test_buffers_are_used_again(split: Split, tmp_path: Path) -> None:
    ours = loader(split, tmp_path, batch_size=1)
    places = [batch.images.ctypes.data for batch in ours.batches(np.arange(23))]
    assert 1 < len(set(places)) <= 4


def test_decoding_runs_ahead_by_a_few_batches_only(split: Split, tmp_path: Path) -> None:
    ours = loader(split, tmp_path, batch_size=1)
    batches = ours.batches(np.arange(23))
    next(batches)
    wait_until(lambda: len(ours.cache.missing(np.arange(23))) < 22)
    time.sleep(0.1)  # long enough to notice a reader without bounds
    assert len(ours.cache.missing(np.arange(23))) >= 18


@pytest.mark.parametrize("way", ["close", "drop", "raise"])
def test_threads_end_when_the_reader_does(split: Split, tmp_path: Path, way: str) -> None:
    batches: Iterator[object] | None = loader(split, tmp_path, batch_size=1).batches(np.arange(23))
    assert batches is not None
    next(batches)
    assert any(thread.name == "data-batches" for thread in threading.enumerate())
    if way == "close":
        batches.close()  # type: ignore[attr-defined]  # a generator, though typed as an iterator
    elif way == "raise":
        with pytest.raises(RuntimeError):
            batches.throw(RuntimeError)  # type: ignore[attr-defined]  # as above
    batches = None
    await_threads()


def test_what_breaks_in_the_thread_reaches_the_reader(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = loader(split, tmp_path)

    def get(_: int) -> Pixels:
        raise ZeroDivisionError

    monkeypatch.setattr(ours.cache, "get", get)
    with pytest.raises(ZeroDivisionError):
        next(ours.batches(np.arange(23)))
    await_threads()


ABANDON = """
import os, sys, threading
import numpy as np
from cnn_cli.data import cache
from cnn_cli.data.dataset import Split
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.loader import Loader

def load(path, pre, **_):
    if path == "stuck":
        threading.Event().wait()
    return np.zeros(pre.shape, np.uint8)

cache.load_image = load
paths = ["a", "stuck", "stuck", "b"]
pre = Preprocess(2, 2, 1)
kept = cache.ImageCache.open("none", paths, pre)
batches = Loader(Split(paths, np.zeros(4, np.int64)), kept, 1, 2).batches(np.arange(4))
next(batches)
print("one")
"""


def test_a_stuck_file_does_not_keep_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABANDON],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("one\n", "")
