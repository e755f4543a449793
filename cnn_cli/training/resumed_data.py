"""Check that a resumed run finds the classes and images with which it began.

A checkpoint stores the `data_facts` of its run and a receipt, which are compared with the current
ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.content import content_digest
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.listing import one_form
from cnn_cli.errors import DataError, listed
from cnn_cli.runs.folder import RECEIPT
from cnn_cli.runs.receipt import META, PARTS, Receipt
from cnn_cli.runs.state import TrainingState

COMPARED = 16  # images whose content is stored in a checkpoint
MOST_LISTED = 100  # classes listed in an error


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """Return facts about the images for comparison: their number, names, and the content of
    some.
    """
    splits = [dataset.train, *([] if dataset.val is None else [dataset.val])]
    paths = [path for split in splits for path in split.paths]
    # In one call: Unicode normalization does not cross the zero characters between.
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


def receipt_of(config: Config, dataset: Dataset) -> Receipt | None:
    """Return the receipt of the images; None with `data.shards`, where no rank reads all images."""
    return Receipt.of(dataset) if config.data.shards == 1 else None


def _content(path: str) -> str | None:
    with suppress(OSError):
        return content_digest(path, 8).hex()
    return None


def check_resumed(meta: Mapping[str, Any], config: Config, now: Mapping[str, Any]) -> None:
    """Refuse to resume with other classes, or with other images in another place.

    Args:
        meta: metadata of the checkpoint; empty for a new training.
        config: the config of the training.
        now: the `data_facts` of the current images.

    Raises:
        DataError: the classes differ, so that the outputs would have other meanings; or `data.root`
            differs, and so do the images, as far as the checkpoint describes them.
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
    if any(before.get(part) != now[part] for part in PARTS):
        counts = [f"{each.get('train')} and {each.get('val')}" for each in (now, before)]
        raise DataError(place, rule, f"{counts[0]} to train and validate on, not {counts[1]}")
    if before.get("names", now["names"]) != now["names"]:
        raise DataError(place, rule, "other names")
    if _other_content(before, now):
        raise DataError(place, rule, "files with the same names but different content")


def _other_content(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    content = before.get("content")
    return isinstance(content, list) and any(
        None not in pair and pair[0] != pair[1]
        for pair in zip(content, now["content"], strict=False)
    )


def was_elsewhere(meta: Mapping[str, Any], config: Config) -> bool:
    """Whether the images were in another place before."""
    root: object = meta["config"].get("data", {}).get("root")
    return root != config.data.root


def data_change(
    meta: Mapping[str, Any], now: Mapping[str, Any], receipt: Receipt | None, run: Path
) -> str | None:
    """Return how the images differ from those of a run's last session; None if they are the same.

    Args:
        meta: metadata of the checkpoint; empty for a new training.
        now: the `data_facts` of the current images.
        receipt: their receipt; None if no rank reads all images.
        run: the run folder, whose list of images tells which of them differ.
    """
    before, digests = meta.get("data", {}), meta.get(META)
    counts = any(before.get(part, now[part]) != now[part] for part in PARTS)
    found = []
    if counts:
        found.append(
            f"{before.get('train')} training and {before.get('val')} validation images then, "
            f"{now['train']} and {now['val']} now"
        )
    if receipt is not None and digests:
        if _matches(receipt, digests):
            return None
        own = _listed(run, digests)
        if own is not None:
            found += _differences(own, receipt)
            return "; ".join(found) or None  # none if names have another Unicode form
    elif before.get("names", now["names"]) == now["names"] and not _other_content(before, now):
        return found[0] if found else None
    return found[0] if found else "names, classes or contents of images differ"


def change_since(
    meta: dict[str, Any], now: Mapping[str, Any], receipt: Receipt | None, run: Path
) -> str | None:
    """Return how the images differ from those of any session of a run; None if they never did.

    Args:
        meta, now, receipt, run: as in `data_change`.
    """
    changed = data_change(meta, now, receipt, run)
    if changed is None and "state" in meta:
        changed = next(iter(TrainingState.from_meta(meta, str(run)).data_changes), None)
    return changed


def _matches(receipt: Receipt, digests: Mapping[str, str]) -> bool:
    return all(digests.get(part) == digest for part, digest in receipt.digests().items())


def _listed(run: Path, digests: Mapping[str, str]) -> Receipt | None:
    """Return the list in a run folder if it is the checkpoint's."""
    with suppress(DataError):
        receipt = Receipt.read(run / RECEIPT)
        if receipt is not None and _matches(receipt, digests):
            return receipt
    return None


def _differences(before: Receipt, now: Receipt) -> list[str]:
    """Count the images that differ between two receipts, in words."""
    then, today = (
        {one_form(name): row for name, row in each.by_name().items()} for each in (before, now)
    )
    both = [(then[name], today[name]) for name in then.keys() & today.keys()]
    counts = {
        "added": len(today.keys() - then.keys()),
        "removed": len(then.keys() - today.keys()),
        "moved to another part": sum(old[0] != new[0] for old, new in both),
        "in another class": sum(one_form(old[1]) != one_form(new[1]) for old, new in both),
        "with other content": sum(old[2] != new[2] for old, new in both),
    }
    words = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return [words] if words else []
