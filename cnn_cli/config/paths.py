"""Paths in a config, which are relative to its own folder."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any


def names_weights(weights: str) -> bool:
    """Whether `train.weights` is a name, such as efficientnet-lite0, rather than a path."""
    return re.fullmatch(r"[A-Za-z0-9_-]+", weights) is not None


def absolute_paths(document: dict[Any, Any], folder: Path) -> None:
    """Make the paths in a document absolute, given the folder to which they are relative."""
    for section, key in (("data", "root"), ("train", "weights")):
        values = document.get(section)
        if not isinstance(values, dict) or not isinstance(values.get(key), str) or not values[key]:
            continue
        path = values[key]
        if key == "weights" and names_weights(path) and not (folder / path).exists():
            continue
        whole = Path(path)
        with suppress(RuntimeError):  # if the home folder is unknown, `~` stays a name
            whole = whole.expanduser()
        values[key] = os.path.abspath(folder / whole)
