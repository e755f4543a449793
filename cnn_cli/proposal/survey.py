"""Examine the images of a folder: all are counted, some are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.data.archive import open_picture
from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import read_image, upright_size
from cnn_cli.data.depth import Depth
from cnn_cli.data.formats import OnFrames
from cnn_cli.data.held_back import hold_back
from cnn_cli.data.image_error import ImageError, NoReaderError
from cnn_cli.data.listing import frames_text
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.reading_threads import Pool
from cnn_cli.data.roots import separator_of, several_text
from cnn_cli.data.samples import Facts, facts_of
from cnn_cli.data.targets import class_counts, is_of
from cnn_cli.errors import UsageError, none_readable
from cnn_cli.files import NoDescriptorError
from cnn_cli.structs import replace

SAMPLE = 256  # images that are read
NEARLY_ALL = 0.95  # fraction of the images
GRAY_SPREAD = 8  # largest difference between the channels of a gray image saved as a color JPEG

_PREPROCESS = Preprocess(32, 32, 3, "squash")


@dataclass(frozen=True, slots=True)
class Survey:
    """The content of a folder.

    Attributes:
        classes: class names, in the order of the network's outputs.
        train: number of training images of each class.
        train_images: number of training images; with several labels per image it is below the sum
            of `train`.
        val: number of validation images of each class; None without validation images.
        val_images: number of validation images.
        test: number of test images.
        val_split: the fraction to hold out to get `val`; None if `val` is a folder.
        looked_at: number of images read.
        unreadable: number of unreadable files among them.
        width, height: median size as displayed, in pixels.
        uniform: whether all images read have that size.
        bands: 3 for color; 1 if (almost) no image has color; another number if most have that.
        depth: the depth that keeps the values of nearly all images.
        flat: median fraction of equal neighboring pixels.
        several: whether images may have several labels.
        sample: paths of readable images.
        remarks: further notes for the user, one per line.
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
    def gray(self) -> bool:
        return self.bands == 1

    @property
    def is_plain(self) -> bool:
        """Whether the images are 8-bit gray or color."""
        return self.bands in (1, 3) and self.depth == 8


@dataclass(frozen=True, slots=True)
class ImageProperties:
    """Properties of an image.

    Attributes:
        size: width and height as displayed.
        is_plain: it can be read as 8-bit color.
        gray: it has one band, or hardly any color.
        bands, depth: as in `data.samples.Facts`.
        flat: fraction of equal neighboring pixels.
    """

    size: tuple[int, int]
    is_plain: bool
    gray: bool
    bands: int
    depth: Depth
    flat: float = 0.0

    def fits(self, bands: int, depth: Depth) -> bool:
        """Whether these `data.channels` and `data.depth` fit it."""
        both_ordinary = self.bands in (1, 3) and bands in (1, 3)
        if both_ordinary and depth == 8:
            return self.is_plain
        return (self.bands == bands or both_ordinary) and (
            self.depth != "float" or depth == "float"
        )


def survey(root: Path, threads: int, labels: str | None = None) -> Survey:
    """Examine a folder of images.

    All files are listed, and hashed if some must be held out, so that the counts are those of the
    training. Some training images, spread over the classes, are decoded.

    Args:
        root: class folders, or folders `train`, `val` and `test` with class folders.
        threads: number of reading threads.
        labels: as in `separator_of`.

    Raises:
        DataError: training could not start, or none of the images read is readable.
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
        found = (read_image(path, _PREPROCESS) for path in paths)
        errors = (each for each in found if isinstance(each, ImageError))
        raise none_readable(root, len(paths), errors)
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
    """Return paths of some images, about equally many per class."""
    each = max(1, SAMPLE // classes)
    chosen: dict[str, None] = {}
    for label in range(classes)[:: ceil_div(classes, SAMPLE)]:
        own = np.flatnonzero(is_of(split.labels, label))
        places = np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).astype(int))
        chosen |= dict.fromkeys(split.paths[own[i]] for i in places)
    return list(chosen)


def _look(path: str, on_frames: OnFrames | None = None) -> ImageProperties | None:
    """Return the properties of an image; None if it is unreadable."""
    try:
        with open_picture(path) as file:
            facts = facts_of(file, path)
    except NoDescriptorError:
        raise
    except NoReaderError as error:
        size = upright_size(path)  # Pillow gives the upper 8 bits of a TIFF with 16-bit color
        if size is None or isinstance(read_image(path, _PREPROCESS), ImageError):
            raise UsageError(error.place, error.rule) from None
        facts = Facts(size, 3, 8)
    except Exception:  # plugins raise nearly any exception for damaged files
        return None
    plain = read_image(path, _PREPROCESS, on_frames=on_frames)
    is_plain, gray, flat = not isinstance(plain, ImageError), facts.bands == 1, 0.0
    if not isinstance(plain, ImageError):
        pixels = plain.astype(np.int16)
        gray = bool((pixels.max(axis=2) - pixels.min(axis=2)).max() <= GRAY_SPREAD)
        flat = float((pixels[:, 1:] == pixels[:, :-1]).all(axis=2).mean())
    own = replace(_PREPROCESS, channels=facts.bands, depth=facts.depth)
    if not is_plain and (own.is_plain or isinstance(read_image(path, own), ImageError)):
        return None
    return ImageProperties(facts.size, is_plain, gray, facts.bands, facts.depth, flat)


def _bands_and_depth(looks: Sequence[ImageProperties]) -> tuple[int, Depth]:
    """Return bands and depth for most of these images; 8 bits if many have no more."""
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
    if bands == 3 and sum(look.gray for look in chosen) >= NEARLY_ALL * len(chosen):
        bands = 1
    return bands, depth
