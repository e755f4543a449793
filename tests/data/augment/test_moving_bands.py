"""Geometric techniques on images with any bands and dtype: the same as on 8-bit color."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnn_cli.data.augment import make_augmentation
from cnn_cli.data.augment.section import AugmentConfig
from cnn_cli.data.depth import Depth, Pixels
from cnn_cli.data.preprocess import Preprocess

SIZE = (12, 10)
BYTES = np.random.default_rng(0).integers(1, 256, (5, *SIZE, 3), dtype=np.uint8)
MOVING: dict[str, Any] = {
    "hflip": 0.5,
    "vflip": 0.5,
    "pad_crop": {"padding": 2, "padding_mode": "zeros"},
    "rotate": 30,
}


def changed(
    images: NDArray[Any], depth: Depth, mean: tuple[float, ...], **config: Any
) -> NDArray[Any]:
    pre = Preprocess(*SIZE, images.shape[-1], "crop", depth)
    augment = make_augmentation(AugmentConfig.model_validate(config), 3, pre, mean)
    assert augment is not None
    out = images.copy()
    augment(out, np.arange(len(out)), 2)
    return out


@pytest.mark.parametrize(("depth", "factor"), [(16, 257), ("float", 0.5)])
@pytest.mark.parametrize("technique", [*MOVING, "all"])
def test_pixels_move_as_bytes_do(depth: Depth, factor: float, technique: str) -> None:
    config = MOVING if technique == "all" else {technique: MOVING[technique]}
    expected = changed(BYTES, 8, (0.5,) * 3, **config)
    dtype = np.uint16 if depth == 16 else np.float32
    mean = (7.0, 8.0, 9.0)
    edge = np.array(mean if depth == "float" else (0, 0, 0), dtype)
    others = changed((BYTES.astype(float) * factor).astype(dtype), depth, mean, **config)
    outside = (expected == 0).all(axis=-1)
    assert technique.endswith("flip") or outside.any()
    np.testing.assert_array_equal(
        others[~outside], (expected[~outside].astype(float) * factor).astype(dtype)
    )
    np.testing.assert_array_equal(others[outside], np.tile(edge, (outside.sum(), 1)))


def test_five_bands_move_together() -> None:
    images = np.concatenate([BYTES, BYTES[..., :2]], axis=-1)
    out = changed(images, 8, (0.5,) * 5, **MOVING)
    np.testing.assert_array_equal(out[..., :3], changed(BYTES, 8, (0.5,) * 3, **MOVING))
    np.testing.assert_array_equal(out[..., 3:], out[..., :2])


@pytest.mark.parametrize(("depth", "full"), [(8, 255), (16, 65535), ("float", 1)])
def test_erased_by_the_mean(depth: Depth, full: int) -> None:
    dtype = {8: np.uint8, 16: np.uint16, "float": np.float32}[depth]
    images = np.zeros((4, *SIZE, 2), dtype)
    mean = (0.25, 0.75) if depth != "float" else (-3.0, 1e6)
    out = changed(images, depth, mean, random_erase={"p": 1.0})
    erased = out[(out != 0).any(axis=-1)]
    assert len(erased)
    expected = np.rint(np.array(mean) * full) if depth != "float" else mean
    np.testing.assert_array_equal(erased, np.tile(np.array(expected, dtype), (len(erased), 1)))


def test_erased_by_numbers_of_the_whole_range() -> None:
    images = np.zeros((20, *SIZE, 2), np.uint16)
    out = changed(images, 16, (0.5, 0.5), random_erase={"p": 1.0, "value": "random"})
    assert out.max() > 60000


def test_a_random_part_of_all_bands() -> None:
    config = AugmentConfig.model_validate({"random_resized_crop": True})
    found: list[Pixels] = []
    for images, depth in ((BYTES, 8), (BYTES.astype(np.float32), "float")):
        pre = Preprocess(6, 5, 3, "crop", depth)  # type: ignore[arg-type]  # one of the two
        augment = make_augmentation(config, 3, pre, (0.5,) * 3)
        assert augment is not None
        assert augment.crop is not None
        found.append(np.empty(pre.shape, pre.dtype))
        augment.crop(images[0], 1.0, 4, 1, found[-1], mirror=False)
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], found[1], atol=1.01)  # bytes are rounded twice
