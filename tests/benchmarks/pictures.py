"""Synthetic images that take a JPEG decoder as long as photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def picture(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Return (height, width, 3) noise with the 1/f spectrum of natural images."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(fy, fx), 1 / max(width, height)) ** 1.1

    def field() -> NDArray[np.float64]:
        spectrum = np.fft.rfft2(rng.standard_normal((height, width))) * falling
        x: NDArray[np.float64] = np.fft.irfft2(spectrum, (height, width))
        x -= x.mean()
        x /= max(x.std(), 1e-9)
        return x

    light = field()
    colors = np.stack([light + 0.3 * field() for _ in range(3)], axis=2)
    return np.clip(128 + 50 * colors, 0, 255).astype(np.uint8)
