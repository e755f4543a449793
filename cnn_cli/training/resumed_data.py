"""Whether a run that goes on finds the classes and images that it began with.

A checkpoint holds the `data_facts` of its run; they are compared with those of today.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.content import content_digest
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.listing import one_form
from cnn_cli.errors import DataError, listed

COMPARED = 16  # images whose content a checkpoint knows
MOST_LISTED = 100  # classes, in an error


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """What a resumed run compares its images with: how many, their names, the content of some."""
    splits = [dataset.train, *([] if dataset.val is None else [dataset.val])]
    paths = [path for split in splits for path in split.paths]
    # All at once: a Unicode form does not reach over the zeros between.
    text = one_form("".join(f"{path.removeprefix(dataset.base)}\0" for path in paths))
    names = hashlib.blake2b(os.fsencode(text), digest_size=16)
    few = np.unique(np.linspace(0, len(paths) - 1, COMPARED).astype(np.int64))
    return {
        "train": len(dataset.train),
        "val": 0 if dataset.val is None else len(dataset.val),
        "classes": list(dataset.classes),
        "names": names.hexdigest(),
        "content": [_content(paths[i]) for i in few],
    }


def _content(path: str) -> str | None:
    with suppress(OSError):
        return content_digest(path, 8).hex()
    return None


def check_resumed(meta: Mapping[str, Any], config: Config, now: Mapping[str, Any]) -> None:
    """Refuse to go on with other classes, or with other images in another place.

    Args:
        meta: of the checkpoint; empty where training is new.
        config: of the training.
        now: what `data_facts` says of its images.

    Raises:
        DataError: the classes are others, so that the network's outputs would mean others; or
            `data.root` is another, and its images are others, as far as the checkpoint knows them.
    """
    if not meta:
        return
    place, classes = config.data.root, meta["classes"]
    if classes != now["classes"]:
        rule = f"a resumed run keeps its classes, {listed(classes, MOST_LISTED)}"
        raise DataError(place, rule, listed(now["classes"], MOST_LISTED))
    before = meta.get("data", {})
    if not before or not was_elsewhere(meta, config):
        return
    rule = "a resumed run must find the same images"
    if any(before.get(part) != now[part] for part in ("train", "val")):
        counts = [f"{each.get('train')} and {each.get('val')}" for each in (now, before)]
        raise DataError(place, rule, f"{counts[0]} to train and validate on, not {counts[1]}")
    if before.get("names", now["names"]) != now["names"]:
        raise DataError(place, rule, "other names")
    content = before.get("content")
    if isinstance(content, list) and any(
        None not in pair and pair[0] != pair[1]
        for pair in zip(content, now["content"], strict=False)
    ):
        raise DataError(place, rule, "files with the same names but different content")


def was_elsewhere(meta: Mapping[str, Any], config: Config) -> bool:
    """Whether the images were in another place before."""
    root: object = meta["config"].get("data", {}).get("root")
    return root != config.data.root


def data_change(meta: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What to say where a resumed run's data changed since its checkpoint.

    Args:
        meta: of the checkpoint; empty where training is new.
        now: what `data_facts` says of the images.
    """
    before = meta.get("data")
    if not before or all(before.get(part) == now[part] for part in ("train", "val")):
        return None
    return (
        f"the data changed since the run began: {before.get('train')} training and "
        f"{before.get('val')} validation images then, {now['train']} and {now['val']} now"
    )
