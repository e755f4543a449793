"""Images are yielded in order, decoded slightly ahead, and the threads end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_samples import await_threads, make_folders

from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import load_image
from cnn_cli.data.decode_ahead import decode_stream
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.preprocess import Preprocess

PRE = Preprocess(4, 4, 1)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return open_dataset(make_folders(tmp_path, {"a": 12, "b": 11}), None, 0).train


def test_stream_keeps_order_and_hands_errors_through(split: Split) -> None:
    Path(split.paths[4]).write_bytes(b"no image")
    error = ImageError("pattern*", "matches no file")
    sources: list[tuple[str, str | bytes | ImageError]] = [(path, path) for path in split.paths]
    sources[9] = ("pattern*", error)
    sources[11] = ("-", Path(split.paths[11]).read_bytes())
    found = list(decode_stream(iter(sources), PRE, threads=3))
    assert [name for name, _ in found] == [name for name, _ in sources]
    for i, (name, image) in enumerate(found):
        if isinstance(image, ImageError):
            assert i in (4, 9)
        else:
            np.testing.assert_array_equal(image, load_image(split.paths[i], PRE), err_msg=name)
    bad = found[4][1]
    assert isinstance(bad, ImageError)
    assert bad.line() == f"{split.paths[4]}: not an image Pillow can read."
    assert found[9][1] is error
    await_threads()


def test_stream_calls_images_by_their_names() -> None:
    ((name, image),) = decode_stream([("photos/a.png", b"no image")], PRE, 1)
    assert name == "photos/a.png"
    assert isinstance(image, ImageError)
    assert image.line() == "photos/a.png: not an image Pillow can read."


def test_stream_of_a_thousand_images_takes_a_few_at_a_time(split: Split) -> None:
    taken = 0

    def items() -> Iterator[tuple[str, str]]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield str(i), split.paths[i % 23]

    yielded = 0
    for name, image in decode_stream(items(), PRE, threads=2):
        assert name == str(yielded)
        assert isinstance(image, np.ndarray)
        yielded += 1
        assert taken <= yielded + 8
    assert yielded == 1000


def test_stream_ends_its_threads_when_dropped(split: Split) -> None:
    stream = decode_stream([(path, path) for path in split.paths], PRE, 2)
    next(stream)
    del stream
    await_threads()
