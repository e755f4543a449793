"""A folder of images that a small network learns in a second, and a config for it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("bright", "dark", "striped")
LAYERS: list[Any] = [
    {"conv": {"out_channels": 6, "kernel_size": 3, "padding": "same", "name": "stem"}},
    "batchnorm",
    "relu",
    {"maxpool": 2},
    {"dropout": 0.1},
    {"linear": "classes"},
]


def make_pictures(root: Path, train: int = 20, val: int = 8, side: int = 8) -> Path:
    """Create `train` and `val` folders with three classes of noisy images."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(100, 25, (side, side))
                pixels += {"bright": 70, "dark": -70, "striped": 0}[name]
                if name == "striped":
                    pixels[::2] += 60
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(root / part / name / f"{i}.png")
    return root


def config_document(root: Path, **train: Any) -> dict[str, Any]:
    """Return a config for `make_pictures`; arguments override keys of `train`."""
    return {
        "data": {"root": str(root), "image_size": 8, "channels": 1},
        "model": {"layers": deepcopy(LAYERS)},
        "train": {"epochs": 3, "batch_size": 16, "optimizer": {"type": "sgd", "lr": 0.05}} | train,
    }


def write_config(path: Path, root: Path, **train: Any) -> Path:
    path.write_text(yaml.safe_dump(config_document(root, **train), sort_keys=False))
    return path
