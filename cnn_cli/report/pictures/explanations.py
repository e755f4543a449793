"""The output of `cnn explain`: images in gray under their heat maps, and sheets of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_cli.data.decode import load_image
from cnn_cli.data.decode_ahead import Decoded
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError
from cnn_cli.files import write_atomic
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.gradcam import Explainer
from cnn_cli.inference.index import Near, Neighbors
from cnn_cli.nn.graph import Node
from cnn_cli.nn.types import Array
from cnn_cli.report.pictures.overlay import overlay
from cnn_cli.report.pictures.paper import enlarged, png
from cnn_cli.report.pictures.sheet import Tile, sheet_png

SHEET = re.compile(r"sheet(-\d+)?")  # what sheets are called
BATCH = 16
ON_A_SHEET = 24
MOST_BESIDE = 4  # largest number of tiles per row
LEAST_SIDE = 224  # of an overlay, in pixels


@dataclass(frozen=True, slots=True)
class Explanation:
    """An image, the explained class, its probability, and the path of the overlay.

    Attributes:
        error: why there is no overlay.
        similar: paths and cosine similarities of the nearest images in an index; None without one.
    """

    path: str
    label: str | None = None
    prob: float | None = None
    file: str | None = None
    error: ImageError | None = None
    similar: Near | None = None

    def as_dict(self) -> dict[str, Any]:
        if self.error is not None:
            return {"path": self.path, "error": self.error.message}
        told = {"path": self.path, "label": self.label, "prob": self.prob, "file": self.file}
        if self.similar is None:
            return told
        near = [{"path": path, "cosine": round(cosine, 8)} for path, cosine in self.similar]
        return told | {"similar": near}


def explain(
    classifier: Classifier,
    nodes: Sequence[Node],
    images: Iterator[Decoded],
    number: int | None,
    overlays: Overlays,
    threads: int,
    neighbors: Neighbors | None = None,
) -> Iterator[Explanation]:
    """Explain images by Grad-CAM, in order, and write their overlays.

    Args:
        classifier: the classifier.
        nodes: for each network, the layer to explain.
        images: any number of images.
        number: the class to explain; None for each image's predicted class, or each of its labels
            if there may be several.
        overlays: writes the overlays.
        threads: worker threads.
        neighbors: finds the nearest images in an index, which the sheets show as well.
    """
    with Explainer(classifier, nodes, threads) as explainer:
        while batch := list(islice(images, BATCH)):
            read = [(path, image) for path, image in batch if not isinstance(image, ImageError)]
            rows = iter(range(len(read)))
            pixels = [image for _, image in read]
            answers = _answers(explainer, np.stack(pixels), number) if read else []
            near = neighbors(read) if neighbors is not None and read else None
            for path, image in batch:
                if isinstance(image, ImageError):
                    yield Explanation(path, error=image)
                    continue
                row = next(rows)
                if not all(isfinite(answer.prob) for answer in answers[row]):
                    error = ImageError(path, "must have finite scores, to be explained")
                    yield Explanation(path, error=error)
                    continue
                similar = None if near is None else near[row]
                if isinstance(similar, ImageError):
                    yield Explanation(path, error=similar)
                    continue
                picture = enlarged(image, LEAST_SIDE)
                beside = [_shown(other, classifier.preprocess) for other, _ in similar or ()]
                for answer in answers[row]:
                    label, prob = classifier.classes[answer.number], round(answer.prob, 8)
                    above = enlarged(overlay(np.asarray(picture), answer.heat), LEAST_SIDE)
                    file = overlays.add(path, label, prob, [picture, above, *beside])
                    yield Explanation(path, label, prob, file, similar=similar)
    overlays.finish()


def _shown(path: str, pre: Preprocess) -> Image.Image:
    """Load an image of an index; blank if it no longer exists."""
    try:
        return enlarged(load_image(path, pre), LEAST_SIDE)
    except DataError:
        return enlarged(np.full((pre.height, pre.width, 3), 255, np.uint8), LEAST_SIDE)


class _Answer(NamedTuple):
    """A class number, its probability, and its heat map."""

    number: int
    prob: float
    heat: Array


def _answers(explainer: Explainer, images: Array, number: int | None) -> list[list[_Answer]]:
    """Return the classes to explain for each image.

    These are the requested class, or the predicted one; with several labels, all predicted ones.
    """
    classes = None if number is None else np.full(len(images), number)
    found = explainer(images, classes)
    several = explainer.classifier.several
    wanted: list[list[int]] = [[int(each)] for each in found.classes]
    if several is not None and number is None:
        wanted = [several.of(p) or own for p, own in zip(found.probabilities, wanted, strict=True)]
    heats = {(row, int(own)): found.heats[row] for row, own in enumerate(found.classes)}
    more = [(row, each) for row, some in enumerate(wanted) for each in some]
    more = [pair for pair in more if pair not in heats]
    for start in range(0, len(more), BATCH):
        rows, numbers = map(list, zip(*more[start : start + BATCH], strict=True))
        others = explainer(images[rows], np.array(numbers)).heats
        heats |= dict(zip(more[start : start + BATCH], others, strict=True))
    return [
        [_Answer(each, float(found.probabilities[row, each]), heats[row, each]) for each in some]
        for row, some in enumerate(wanted)
    ]


class Overlays:
    """The files of one call: one overlay per image, and sheets of images with their overlays.

    Attributes:
        files: the sheets.
    """

    def __init__(self, folder: Path, title: str, subtitle: str) -> None:
        self.files: list[str] = []
        self._folder = folder
        self._title = title
        self._subtitle = subtitle
        self._taken: set[str] = set()
        self._tiles: list[Tile] = []

    def add(self, path: str, label: str, prob: float, pictures: Sequence[Image.Image]) -> str:
        """Write an overlay; return its path.

        Args:
            path: path of the image.
            label, prob: the explained class and its probability.
            pictures: the image, the overlay, and further images for the sheet.
        """
        file = self._folder / self._name(path, label)
        write_atomic(file, png(pictures[1]))
        lines = ((label, f" {prob:.4f}"), (Path(path).stem, Path(path).suffix))
        self._tiles.append(Tile(tuple(pictures), lines))
        if len(self._tiles) == ON_A_SHEET:
            self.finish()
        return str(file)

    def finish(self) -> None:
        """Write the tiles that are not on a sheet yet."""

        if not self._tiles:
            return
        number = len(self.files) + 1
        file = self._folder / ("sheet.png" if number == 1 else f"sheet-{number}.png")
        columns = max(1, MOST_BESIDE // len(self._tiles[0].pictures))
        write_atomic(file, sheet_png(self._tiles, columns, self._title, self._subtitle))
        self.files.append(str(file))
        self._tiles = []

    def _name(self, path: str, label: str) -> str:
        """Return `<image>-<class>.png`, with a number if it would be that of another image or of a
        sheet.
        """
        stem = re.sub(r"[^\w.-]+", "_", f"{Path(path).stem}-{label}")[:120]
        name, number = stem, 1
        while name.casefold() in self._taken or SHEET.fullmatch(name.casefold()):
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return f"{name}.png"
