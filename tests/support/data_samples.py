"""Images and folders of images for the tests of `cnn_cli.data`."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from patience import wait_until
from PIL import Image

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, channels: int, seed: int = 0) -> Pixels:
    """(height, width, channels) bytes, or (height, width) for one channel."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photograph(seed: int, side: int = 160) -> Image.Image:
    """Return gray noise with the spectrum of photographs."""
    octaves = [
        Image.fromarray(noise(2**n, 2**n, 1, seed + n)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        for n in range(1, 7)
    ]
    mixed = octaves[-1]
    for octave in reversed(octaves[:-1]):
        mixed = Image.blend(mixed, octave, 0.5)
    return mixed


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def save_gray(path: Path, seed: int = 0, side: int = 4) -> Path:
    """Write a small gray PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(side, side, 1, seed)).save(path, "PNG")
    return path


def make_folders(root: Path, counts: Mapping[str, int]) -> Path:
    """Create folders by name, each with that many distinct images."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            save_gray(root / name / f"{i:03}.png", seed=1000 * number + i)
    return root


def await_threads() -> None:
    """Wait until the loaders' threads have ended."""
    wait_until(lambda: not any(thread.name.startswith("data-") for thread in threading.enumerate()))
