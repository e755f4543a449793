"""The receipt of a training: a digest of its images in the checkpoint, and a list of them beside
it.

An image is identified by its part, its class, its path below the data root, and a hash of its file;
the digest does not depend on order and place. `data.root` is not part of the config's digest.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn_cli import safe_csv
from cnn_cli.data.content import Hashes, content_hashes
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.targets import are_multiple
from cnn_cli.errors import DataError, printable, reason
from cnn_cli.runs.folder import RECEIPT
from cnn_cli.safe_csv import FORMULA

META = "receipt"
COLUMNS = ("part", "class", "path", "hash")
PARTS = ("train", "val")
SIZE = 16  # bytes of a digest

FIRST = frozenset(FORMULA)


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """The images of a training.

    Attributes:
        lines: one CSV line per image, with `COLUMNS`, sorted; the hash is empty for unreadable
            files.
    """

    lines: list[bytes]

    @classmethod
    def of(cls, dataset: Dataset) -> Receipt:
        """Create the receipt of the training and validation images.

        Args:
            dataset: the data set; files without a known hash are read.
        """
        lines, classes = [], [printable(name) for name in dataset.classes]
        for part in PARTS:
            split: Split | None = getattr(dataset, part)
            if split is None:
                continue
            hashes = split.hashes
            if hashes is None:
                hashes = content_hashes(split.paths, dataset.root).hashes
            found = zip(split.paths, _label_texts(split, classes), hashes.tolist(), strict=True)
            for path, label, number in found:
                name = path.removeprefix(dataset.base).lstrip(os.sep).replace(os.sep, "/")
                digest = f"{number:016x}" if number else ""
                lines.append(_line((part, label, printable(name), digest)))
        return cls(sorted(lines))

    @classmethod
    def read(cls, path: Path) -> Receipt | None:
        """Read the list of a run folder; None if there is none.

        Raises:
            DataError: it cannot be read.
        """
        try:
            lines = path.read_bytes().splitlines(keepends=True)[1:]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            rule = "must be a list of images, as cnn train writes it"
            raise DataError(path, rule, reason(error)) from error
        return cls(lines)

    @classmethod
    def beside(cls, file: Path, meta: Mapping[str, Any]) -> Receipt | None:
        """Read the list next to a checkpoint; None if there is none, or that of another training.

        Args:
            file: the checkpoint.
            meta: its metadata.

        Raises:
            DataError: the list cannot be read.
        """
        found, stored = cls.read(file.parent / RECEIPT), meta.get(META) or {}
        if found is None or found.digests() != {part: stored.get(part) for part in PARTS}:
            return None
        return found

    def csv(self) -> bytes:
        """Return the list as CSV with a header."""
        return b"".join([_line(COLUMNS), *self.lines])

    def digests(self) -> dict[str, str]:
        """Return a digest of the images of each part."""
        found = {}
        for part in PARTS:
            own = b"".join(line for line in self.lines if line.startswith(f"{part},".encode()))
            found[part] = hashlib.blake2b(own, digest_size=SIZE).hexdigest()
        return found

    def counts(self) -> dict[str, int]:
        """Return the number of images of each part."""
        return {
            part: sum(line.startswith(f"{part},".encode()) for line in self.lines) for part in PARTS
        }

    def by_name(self) -> dict[str, tuple[str, ...]]:
        """Return part, class and hash of each image, by path, as in the list."""
        text = b"".join(self.lines).decode()
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        return {name: (part, label, number) for part, label, name, number in rows}

    def trained_on(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether files with these hashes, 0 for unreadable ones, are training images."""
        found = (number for part, _, number in self.by_name().values() if part == PARTS[0])
        own = np.array([int(number, 16) for number in found if number], np.uint64)
        return np.isin(hashes, own)


def _label_texts(split: Split, classes: Sequence[str]) -> Iterator[str]:
    """Yield the class of each image, or its labels joined."""
    if not are_multiple(split.labels):
        return (classes[number] for number in split.labels.tolist())
    return ("|".join(classes[i] for i in np.flatnonzero(row).tolist()) for row in split.labels)


def _line(row: Sequence[str]) -> bytes:
    text = ",".join(row)
    plain = text.isprintable() and text.count(",") == len(row) - 1 and '"' not in text
    if not plain or any(cell[:1] in FIRST for cell in row):
        text = safe_csv.line(row)[:-1]
    return f"{text}\n".encode("utf-8", "backslashreplace")


def config_digest(plain: Mapping[str, Any]) -> str:
    """Return a digest of a config as plain values, without `data.root`."""
    data = {key: value for key, value in plain.get("data", {}).items() if key != "root"}
    text = json.dumps({**plain, "data": data}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=SIZE).hexdigest()


def receipt_meta(receipt: Receipt, plain: Mapping[str, Any]) -> dict[str, str]:
    """Return the checkpoint's metadata for a receipt.

    Args:
        receipt: the receipt of the training.
        plain: its config, as plain values.
    """
    return {**receipt.digests(), "config": config_digest(plain)}
