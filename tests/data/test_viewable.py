"""Display of images with any bands and values."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn_cli.data.depth import viewable

BYTES = np.random.default_rng(0).integers(0, 256, (20, 30, 5), dtype=np.uint8)


def test_bytes_are_shown_as_they_are() -> None:
    np.testing.assert_array_equal(viewable(BYTES), BYTES[..., :3])
    np.testing.assert_array_equal(viewable(BYTES[..., :2]), BYTES[..., :1])
    np.testing.assert_array_equal(viewable(BYTES[..., :1]), BYTES[..., :1])


def test_other_numbers_are_stretched_band_by_band() -> None:
    for scale, shift, dtype in ((4, 1000, np.uint16), (1e-6, -5, np.float32)):
        x: Any = (BYTES.astype(float) * scale + shift).astype(dtype)
        shown = viewable(x)
        assert shown.dtype == np.uint8
        for band in range(3):
            low, high = np.percentile(x[..., band], (2, 98))
            expected = 255 * ((x[..., band] - low) / (high - low)).clip(0, 1)
            np.testing.assert_allclose(shown[..., band], expected, atol=0.51)


def test_one_number_everywhere_is_black() -> None:
    np.testing.assert_array_equal(viewable(np.full((4, 4, 1), 9.5, np.float32)), 0)
