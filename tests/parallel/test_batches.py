"""The images of a batch that a rank reads, without other processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from learnable import make_pictures

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.loader import Loader
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array
from cnn_cli.parallel.batches import BatchSplitter
from cnn_cli.parallel.ranks import Alone


class SecondOfTwo(Alone):
    """Rank 1 of two; the other one sends the same as it."""

    rank = 1
    size = 2

    def gather(self, numbers: Array) -> Array:
        return np.stack([numbers, numbers])


@pytest.mark.parametrize(
    ("lose", "place", "found"),
    [
        (
            shutil.rmtree,
            "",
            "must be a folder with a sub-folder of images for each class. Got no such folder.",
        ),
        (
            lambda root: (root / "train/bright/1.png").unlink(),
            "/train/bright/1.png",
            "cannot be read. Got no such file or directory.",
        ),
    ],
)
def test_a_second_image_of_a_mix_is_gone(
    tmp_path: Path, lose: Callable[[Path], None], place: str, found: str
) -> None:
    """Of another rank's images, once this rank has read its own."""
    root = make_pictures(tmp_path / "pictures", 4, 0)
    paths = [str(root / f"train/bright/{i}.png") for i in range(4)]
    cache = ImageCache.open("ram", paths, Preprocess(8, 8, 1))
    cache.get(2)
    cache.get(3)
    loader = Loader(Split(paths, np.zeros(4, np.int64)), cache, 4, 1)
    lose(root)
    splitter = BatchSplitter(SecondOfTwo(), loader, root, mixed=True)
    with pytest.raises(DataError) as caught:
        next(splitter.batches(loader, np.arange(4), lambda batches: batches))
    assert caught.value.line() == f"{root}{place}: {found}"
