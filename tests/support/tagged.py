"""Images with several labels that a small network learns in seconds, a list of them, and a
config.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from learnable import LAYERS
from PIL import Image

CLASSES = ("bottom", "left", "top")


def make_tagged(
    root: Path, train: int = 60, val: int = 24, side: int = 8, marks: bool = False
) -> Path:
    """Write `tags.csv` with noisy images: a bright bar for each label, or none.

    Args:
        marks: write a column of 0 and 1 for each label, instead of one column of names.
    """
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir(parents=True)
    lines = ["path,split," + (",".join(CLASSES) if marks else "label")]
    for i in range(train + val):
        labels = [name for bit, name in enumerate(CLASSES) if (i + 1) >> bit & 1]
        pixels = rng.normal(90, 20, (side, side))
        pixels[-2:] += 90 * ("bottom" in labels)
        pixels[:2] += 90 * ("top" in labels)
        pixels[:, :2] += 90 * ("left" in labels)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"pictures/{i}.png")
        part = "train" if i < train else "val"
        told = "|".join(labels) or "none"
        if marks:
            told = ",".join(str(int(name in labels)) for name in CLASSES)
        lines.append(f"pictures/{i}.png,{part},{told}")
    (root / "tags.csv").write_text("\n".join(lines) + "\n")
    return root / "tags.csv"


def tagged_document(tags: Path, **train: Any) -> dict[str, Any]:
    """Return a config for `make_tagged`; arguments override keys of `train`."""
    return {
        "data": {"root": str(tags), "labels": "multiple", "image_size": 8, "channels": 1},
        "model": {"layers": LAYERS},
        "train": {"epochs": 3, "batch_size": 16, "optimizer": {"type": "sgd", "lr": 0.05}} | train,
    }


def write_tagged_config(path: Path, tags: Path, **train: Any) -> Path:
    path.write_text(yaml.safe_dump(tagged_document(tags, **train), sort_keys=False))
    return path
