"""Check whether images and config are still those with which a network was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnn_cli.config import load_config, plain_config
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.label_table import is_list
from cnn_cli.data.opening import open_dataset
from cnn_cli.errors import DataError
from cnn_cli.runs.checkpoint import load_checkpoint, resolve_checkpoint
from cnn_cli.runs.folder import CONFIG, RESUMABLE, differences
from cnn_cli.runs.meta import split_rule
from cnn_cli.runs.receipt import META, PARTS, Receipt, config_digest
from cnn_cli.runs.state import TrainingState
from cnn_cli.runs.stored_network import stored_config


@dataclass(frozen=True, slots=True)
class Change:
    """An image that differs from the receipt.

    Attributes:
        kind: `added`, `changed` or `removed`.
        part: `train` or `val`, where it is now, or was.
        path: its path below the data root, as in receipts.
        what: for changed images: `content`, or the old and new class or part.
    """

    kind: str
    part: str
    path: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What has changed since a training.

    Attributes:
        checkpoint: the checkpoint.
        root: the folder of the images.
        images: current number of images, by part.
        same: whether they equal those of the training, by part.
        config: keys whose values differ between the checkpoint and the config beside it; only
            `None` if the checkpoint's own config is not the one that was trained.
        changes: sorted by kind and path; None if there is no list of the images.
        during: changes of the images between sessions of the training, in words.
    """

    checkpoint: Path
    root: Path
    images: dict[str, int]
    same: dict[str, bool]
    config: list[str] | None
    changes: list[Change] | None
    during: list[str]

    @property
    def is_same(self) -> bool:
        return all(self.same.values()) and self.config == [] and not self.during

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        changes = None if self.changes is None else [asdict(each) for each in self.changes]
        return {
            "checkpoint": str(self.checkpoint),
            "data": str(self.root),
            "same": self.is_same,
            "images": self.images,
            "same_images": self.same,
            "config": {"same": self.config == [], "changed": self.config},
            "changes": changes,
            "changes_during_training": self.during,
        }


def verify(path: Path, root: Path | None = None) -> Verified:
    """Compare the current images with a checkpoint's receipt.

    Args:
        path: an `.npz` file, or a run folder.
        root: the current folder of the images; None for the one in its config.

    Raises:
        DataError: the checkpoint cannot be read or has no receipt, or the images are missing.
        ConfigError: the config beside it is invalid.
    """
    file = resolve_checkpoint(path)
    meta = load_checkpoint(file, ()).meta
    receipt = meta.get(META)
    if not receipt:
        rule = (
            "has no receipt of its images; data.shards, cnn average and older versions of cnn "
            "train write none"
        )
        raise DataError(file, rule)
    dataset = _dataset(file, meta, root)
    now = Receipt.of(dataset)
    digests = now.digests()
    same = {part: digests[part] == receipt.get(part) for part in PARTS}
    changes: list[Change] | None = None
    if all(same.values()):
        changes = []
    elif (before := Receipt.beside(file, meta)) is not None:
        changes = _changes(before, now)
    config = _changed_keys(file, meta, receipt)
    during = TrainingState.from_meta(meta, str(file)).data_changes
    return Verified(file, dataset.root, now.counts(), same, config, changes, during)


def _dataset(file: Path, meta: Mapping[str, Any], root: Path | None) -> Dataset:
    data = stored_config(dict(meta), str(file)).data
    if root is None and data.root is None:
        raise DataError(file, "does not say where its images are; give --data DIR")
    return open_dataset(
        Path(data.root or "") if root is None else root,
        data.classes,
        data.val_split,
        meta["classes"],
        data.columns if root is None or is_list(root) else None,
        separator=data.separator,
        test_split=data.test_split,
        group=data.group,
        rule=split_rule(meta),
        fold=data.fold,
    )


def _changes(before: Receipt, now: Receipt) -> list[Change]:
    then, today = before.by_name(), now.by_name()
    found = [Change("added", today[name][0], name) for name in sorted(today.keys() - then.keys())]
    for name in sorted(today.keys() & then.keys()):
        if today[name] != then[name]:
            (part, label, content), (new_part, new_label, new_content) = then[name], today[name]
            what = [f"{part} to {new_part}"] * (part != new_part)
            what += [f"{label} to {new_label}"] * (label != new_label)
            what += ["content"] * (content != new_content)
            found.append(Change("changed", new_part, name, ", ".join(what)))
    removed = sorted(then.keys() - today.keys())
    return found + [Change("removed", then[name][0], name) for name in removed]


def _changed_keys(
    file: Path, meta: Mapping[str, Any], receipt: Mapping[str, str]
) -> list[str] | None:
    """See `Verified.config`."""
    if config_digest(meta["config"]) != receipt.get("config"):
        return None
    beside = file.parent / CONFIG
    if not beside.exists():
        return []
    stored = plain_config(stored_config(dict(meta), str(file)))
    return differences(stored, plain_config(load_config(beside)), RESUMABLE)
