"""The loader's images: their changes depend on seed, epoch and image alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import encoded, noise
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.augment import AugmentConfig, kept_preprocess, make_augmentation
from cnn_cli.data.augment.augmentation import Augmentation
from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Split
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_store import CacheMode
from cnn_cli.data.loader import Loader
from cnn_cli.data.preprocess import Preprocess

Order = NDArray[np.int64]

N = 13
PRE = Preprocess(16, 12, 3)
ALL: dict[str, Any] = {
    "hflip": 0.5,
    "vflip": 0.2,
    "pad_crop": {"padding": 3, "padding_mode": "reflect"},
    "trivialaugment": True,
    "rotate": 20,
    "color_jitter": {"brightness": 0.4, "hue": 0.2},
    "random_erase": {"value": "random"},
}
CROPPED = ALL | {"random_resized_crop": [0.3, 1.0]}
SECTIONS = [{"hflip": "alternating", "pad_crop": 2}, ALL, CROPPED]
IDS = ["place", "all", "crop"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / f"{i}.png") for i in range(N)]
    for i, path in enumerate(paths):
        pixels = noise(20 + i, 33 - i, 3, seed=i)
        Path(path).write_bytes(encoded(Image.fromarray(pixels)))
    Path(paths[4]).write_bytes(b"no image")
    return Split(paths, np.arange(N) % 2)


def loader(
    split: Split,
    section: dict[str, Any],
    *,
    mode: CacheMode = "ram",
    threads: int = 2,
    batch_size: int = 5,
    seed: int = 0,
) -> Loader:
    config = AugmentConfig.model_validate(section)
    crop = config.random_resized_crop
    kept = kept_preprocess(crop, PRE, split.paths) if crop else PRE
    cache = ImageCache.open(mode, split.paths, kept, aspects=crop is not None)
    augment = make_augmentation(config, seed, PRE, (0.5, 0.5, 0.5))
    return Loader(split, cache, batch_size, threads, augment=augment)


def images_of(ours: Loader, order: Order, epoch: int = 0) -> dict[int, bytes]:
    """Return the bytes of each image."""
    found = {}
    for batch in ours.batches(order, epoch=epoch):
        assert batch.images.shape[1:] == PRE.shape
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            found[index] = image.tobytes()
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=IDS)
def test_the_same_whatever_the_loader(
    split: Split, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.random.default_rng(0).permutation(N)
    expected = images_of(loader(split, section), order, epoch=3)
    assert len(expected) == N - 1
    ways: list[tuple[Any, int, int]] = [
        ("none", 1, 1),
        ("ram", 4, 3),
        ("disk", 1, N),
        ("none", 3, 4),
    ]
    for mode, threads, size in ways:
        ours = loader(split, section, mode=mode, threads=threads, batch_size=size)
        for _ in range(2):
            assert images_of(ours, np.arange(N), epoch=3) == expected
    monkeypatch.setattr("cnn_cli.data.augment.augmentation.BLOCK_BYTES", 1000)
    assert images_of(loader(split, section), order, epoch=3) == expected


@pytest.mark.parametrize("section", SECTIONS, ids=IDS)
def test_other_seeds_and_epochs_differ(split: Split, section: dict[str, Any]) -> None:
    order = np.arange(N)
    found = [
        images_of(loader(split, section, seed=seed), order, epoch)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert found[one].keys() == found[other].keys()
        assert sum(found[one][i] != found[other][i] for i in found[one]) > N // 4


def test_starting_later(split: Split) -> None:
    ours = loader(split, CROPPED)
    whole = [batch.images.copy() for batch in ours.batches(np.arange(N), epoch=2)]
    rest = [batch.images.copy() for batch in ours.batches(np.arange(N), skip=1, epoch=2)]
    assert len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cache_is_left_as_it_is(split: Split) -> None:
    ours = loader(split, ALL)
    images_of(ours, np.arange(N))
    plain = loader(split, {})
    assert plain.augment is None
    images_of(plain, np.arange(N))
    for i in (0, 1, 2, 12):
        np.testing.assert_array_equal(ours.cache.get(i), plain.cache.get(i))


def test_one_technique_does_not_move_another(split: Split) -> None:
    """A flip is the same with and without later techniques."""
    indices, images = np.arange(6), np.stack([noise(16, 12, 3, seed) for seed in range(6)])

    def changed(section: dict[str, Any], x: Pixels) -> Pixels:
        config = AugmentConfig.model_validate(section)
        augment = make_augmentation(config, 0, PRE, (0.5, 0.5, 0.5))
        assert augment is not None
        x = x.copy()
        augment(x, indices, 0)
        return x

    erase = {"random_erase": {"size": 5}}
    both = changed({"hflip": 0.5} | erase, images)
    np.testing.assert_array_equal(both, changed(erase, changed({"hflip": 0.5}, images)))


@pytest.mark.parametrize(
    "section",
    [{}, {"hflip": 0}, {"rotate": 0, "vflip": 0.0}, {"random_erase": 0}, {"mixup": 1, "cutmix": 1}],
)
def test_what_is_off_costs_nothing(section: dict[str, Any]) -> None:
    config = AugmentConfig.model_validate(section)
    assert make_augmentation(config, 0, PRE, (0.5, 0.5, 0.5)) is None


def test_blocks_cover_a_batch() -> None:
    augment = Augmentation((lambda *_: None,), None)
    for n, shape in ((1, (2, 2, 1)), (7, (600, 600, 3)), (900, (32, 32, 3))):
        images = np.zeros((n, *shape), np.uint8)
        rows = np.concatenate([np.arange(n)[block] for block in augment.blocks(images)])
        assert rows.tolist() == list(range(n))
    assert augment.blocks(np.zeros((0, 2, 2, 1), np.uint8)) == []
    assert Augmentation((), None).blocks(np.zeros((3, 2, 2, 1), np.uint8)) == []
