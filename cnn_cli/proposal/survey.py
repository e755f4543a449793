"""What kind of pictures a folder holds: all are counted, some are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from cnn_cli.data.archive import open_picture
from cnn_cli.data.dataset import Split, hold_back, open_dataset
from cnn_cli.data.decode import (
    ImageError,
    NoReaderError,
    OnFrames,
    Preprocess,
    read_image,
    upright_size,
)
from cnn_cli.data.depth import Depth
from cnn_cli.data.listing import frames_text
from cnn_cli.data.pool import Pool
from cnn_cli.data.roots import separator_of, several_text
from cnn_cli.data.samples import Facts, facts_of
from cnn_cli.data.targets import class_counts, is_of
from cnn_cli.errors import DataError, UsageError
from cnn_cli.files import NoDescriptorError
from cnn_cli.structs import replace

SAMPLE = 256  # pictures that are read
NEARLY_ALL = 0.95  # of the pictures
GREY_SPREAD = 8  # between the channels of a grey picture that was saved as a colour JPEG

_PREPROCESS = Preprocess(32, 32, 3, "squash")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder holds.

    Attributes:
        classes: names, in the order of the network's outputs.
        train: images of each class to train on.
        train_images: images to train on; of several labels, each counts for several classes.
        val: images of each class to validate on; None where there are none.
        val_images: images to validate on.
        test: images to test on.
        val_split: the fraction that must be held back to have those of `val`; None where `val` is a
            folder of its own.
        looked_at: how many pictures were read.
        unreadable: how many of them are no pictures.
        width, height: of the picture in the middle, in pixels, as it is seen.
        uniform: whether all that were looked at have that size.
        bands: 3 for colour; 1 where none of them, or hardly one, has colours; another number where
            most have that.
        depth: that keeps what nearly all have.
        flat: the share of neighbouring pixels that are the same, of the picture in the middle.
        several: whether an image may have several labels.
        sample: paths of those that can be read.
        remarks: what the user should know besides, a line each.
    """

    classes: tuple[str, ...]
    train: tuple[int, ...]
    train_images: int
    val: tuple[int, ...] | None
    val_images: int
    test: int
    val_split: float | None
    looked_at: int
    unreadable: int
    width: int
    height: int
    uniform: bool
    bands: int
    depth: Depth
    sample: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    flat: float = 0.0
    several: bool = False

    @property
    def grey(self) -> bool:
        return self.bands == 1

    @property
    def is_plain(self) -> bool:
        """Whether the pictures are grey or colour of 8 bits."""
        return self.bands in (1, 3) and self.depth == 8


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture is like.

    Attributes:
        size: width and height as it is seen.
        is_plain: it can be read as colour of 8 bits.
        grey: it has one band, or hardly any colour.
        bands, depth: as of `data.samples.Facts`.
        flat: the share of neighbouring pixels that are the same.
    """

    size: tuple[int, int]
    is_plain: bool
    grey: bool
    bands: int
    depth: Depth
    flat: float = 0.0

    def fits(self, bands: int, depth: Depth) -> bool:
        """Whether `data.channels` and `data.depth` of these would take it."""
        both_ordinary = self.bands in (1, 3) and bands in (1, 3)
        if both_ordinary and depth == 8:
            return self.is_plain
        return (self.bands == bands or both_ordinary) and (
            self.depth != "float" or depth == "float"
        )


def survey(root: Path, threads: int, labels: str | None = None) -> Survey:
    """Look at a folder of images.

    All files are listed, and hashed where some must be held back, so that the counts are those of
    the training; of the training images, some spread over the classes are decoded.

    Args:
        root: class folders, or folders `train`, `val` and `test` that hold class folders.
        threads: that read.
        labels: of `separator_of`.

    Raises:
        DataError: a training could not start, or no picture that was looked at can be read.
    """
    separator = separator_of(root, labels)
    dataset = open_dataset(root, None, 0.0, separator=separator)
    classes = len(dataset.classes)
    paths = _spread(dataset.train, classes)
    frames: set[str] = set()
    with Pool(threads) as pool:
        futures = [pool.submit(_look, path, frames.add) for path in paths]
        looks = [(path, future.result()) for path, future in zip(paths, futures, strict=True)]
    bands, depth = _bands_and_depth([look for _, look in looks if look is not None])
    seen = [(path, look) for path, look in looks if look is not None and look.fits(bands, depth)]
    if not seen:
        raise DataError(root, "must hold a readable image", f"{len(paths)} that cannot")
    sizes = [look.size for _, look in seen]
    val_split = None
    if dataset.val is None:
        total = len(dataset.train)
        val_split = 0.2 if total < 1000 else 0.05 if total > 50_000 else 0.1
        dataset = hold_back(dataset, val_split)
    return Survey(
        classes=dataset.classes,
        train=_counts(dataset.train, classes),
        train_images=len(dataset.train),
        val=None if dataset.val is None else _counts(dataset.val, classes),
        val_images=0 if dataset.val is None else len(dataset.val),
        test=0 if dataset.test is None else len(dataset.test),
        val_split=val_split,
        looked_at=len(paths),
        unreadable=len(paths) - len(seen),
        width=int(median(width for width, _ in sizes)),
        height=int(median(height for _, height in sizes)),
        uniform=len(set(sizes)) == 1,
        bands=bands,
        depth=depth,
        sample=tuple(path for path, _ in seen),
        remarks=(
            *([several_text(root)] if labels is None and separator is not None else []),
            *dataset.remarks,
            *([frames_text(frames)] if frames else []),
        ),
        flat=median(look.flat for _, look in seen),
        several=separator is not None,
    )


def _counts(split: Split, classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in class_counts(split.labels, classes))


def _spread(split: Split, classes: int) -> list[str]:
    """Paths of some images, of each class about as many."""
    each = max(1, SAMPLE // classes)
    chosen: dict[str, None] = {}
    for label in range(classes)[:: -(-classes // SAMPLE)]:
        own = np.flatnonzero(is_of(split.labels, label))
        places = np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).astype(int))
        chosen |= dict.fromkeys(split.paths[own[i]] for i in places)
    return list(chosen)


def _look(path: str, on_frames: OnFrames | None = None) -> Look | None:
    """What a picture is like; None if it is none."""
    try:
        with open_picture(path) as file:
            facts = facts_of(file, path)
    except NoDescriptorError:
        raise
    except NoReaderError as error:
        size = upright_size(path)  # of a TIFF of 16-bit colour Pillow gives the upper 8 bits
        if size is None or isinstance(read_image(path, _PREPROCESS), ImageError):
            raise UsageError(error.place, error.rule) from None
        facts = Facts(size, 3, 8)
    except Exception:  # plugins raise nearly anything on broken data
        return None
    plain = read_image(path, _PREPROCESS, on_frames=on_frames)
    is_plain, grey, flat = not isinstance(plain, ImageError), facts.bands == 1, 0.0
    if not isinstance(plain, ImageError):
        pixels = plain.astype(np.int16)
        grey = bool((pixels.max(axis=2) - pixels.min(axis=2)).max() <= GREY_SPREAD)
        flat = float((pixels[:, 1:] == pixels[:, :-1]).all(axis=2).mean())
    own = replace(_PREPROCESS, channels=facts.bands, depth=facts.depth)
    if not is_plain and (own.is_plain or isinstance(read_image(path, own), ImageError)):
        return None
    return Look(facts.size, is_plain, grey, facts.bands, facts.depth, flat)


def _bands_and_depth(looks: Sequence[Look]) -> tuple[int, Depth]:
    """What a training on most of these pictures would take, 8 bits where many have no more."""
    counts = Counter(look.bands if look.bands not in (1, 3) else 3 for look in looks)
    if not counts:
        return 3, 8
    bands = counts.most_common(1)[0][0]
    chosen = [look for look in looks if look.fits(bands, "float")]
    deep = [look.depth for look in chosen if look.depth != 8]
    depth: Depth = 8
    few_plain = 2 * sum(look.is_plain for look in chosen) < len(chosen)
    if few_plain or len(deep) >= NEARLY_ALL * len(chosen):
        depth = "float" if "float" in deep else 16 if deep else 8
    if bands == 3 and sum(look.grey for look in chosen) >= NEARLY_ALL * len(chosen):
        bands = 1
    return bands, depth
