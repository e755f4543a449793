"""Predicting from Python, with the same preprocessing and results as `cnn predict`.

import cnn_cli

with cnn_cli.load("runs/small") as model:
    for found in model.predict(["a.jpg", "b.jpg"]):
        print(found.label, found.prob)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.decode import ImageError, Preprocess, fit_image, load_image
from cnn_cli.data.depth import Pixels
from cnn_cli.inference.classifier import Classifier, open_classifier
from cnn_cli.inference.metrics import top_k
from cnn_cli.inference.predictor import Predictor
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.system import cpu_count

Picture = str | PathLike[str] | bytes | NDArray[Any] | Image.Image


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a picture shows.

    Attributes:
        label: the likeliest class; None where the picture is of none of them, see `rejected`.
        prob: the probability of the likeliest class.
        topk: the likeliest classes with their probabilities, in falling order.
        labels: of a checkpoint of `data.labels: multiple`, those of the picture with their
            probabilities, in falling order, maybe none; None where each picture has one label.
        rejected: it was refused, by a checkpoint of `cnn eval --reject`.
    """

    label: str | None
    prob: float
    topk: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, float], ...] | None = None
    rejected: bool = False


class Model:
    """A trained network; a context manager.

    While it is open its threads wait for pictures, and BLAS runs on one thread each.

    Args:
        classifier: what `load` has read.
        threads: workers.
        backend: `numpy`, or `fast` with the extra of that name; by default the faster one for
            as many pictures as come.

    Raises:
        UsageError: `fast` without numba.
    """

    def __init__(self, classifier: Classifier, threads: int, backend: str | None = None) -> None:
        self._predictor = Predictor(classifier, threads, backend, lambda _: None)
        self._classifier = classifier
        self._closed = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the scores."""
        return self._classifier.classes

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels that pictures are brought to."""
        return self._classifier.preprocess.height, self._classifier.preprocess.width

    def predict(
        self, pictures: Picture | Iterable[Picture], *, topk: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """Name what is in pictures, in their order.

        Args:
            pictures: one or many: paths, contents of image files, Pillow images, or arrays of
                pixels, uint8: (h, w), (h, w, 1), (h, w, 3) in red, green, blue, or (h, w, 4) with
                alpha, or (n, h, w, c) for n of them. Of any size. For a model of other
                `data.channels` or `data.depth`: (h, w) or (h, w, bands), uint8 or uint16, and for
                `float` any real numbers.
            topk: how many classes to list, at least 1; at most all are.
            batch_size: pictures that go through the network together, at least 1.

        What is handed over is not changed, but that Pillow decodes an image it has only opened.
        A large JPEG that it has not decoded yet is read from its file, as a path would be; what is
        decoded already is taken as it is.

        Raises:
            ImageError: a picture cannot be read: its file is absent, damaged or no image, or
                the image is closed or has no pixels, or a number is not finite.
            ValueError: an array of another shape or type; `topk` or `batch_size` below 1; the
                model is closed.
        """
        _at_least_1("topk", topk)
        _at_least_1("batch_size", batch_size)
        if self._closed:
            raise ValueError("the model is closed: predict while it is open.")
        found = []
        images = self._pixels(pictures)
        while batch := list(islice(images, batch_size)):
            probabilities = self._predictor.probabilities(batch)
            refused = self._predictor.rejected(len(batch))
            for scores, rejected in zip(probabilities, refused, strict=True):
                best = tuple(
                    (self.classes[i], round(float(scores[i]), 8))
                    for i in top_k(scores[None], topk)[0]
                )
                label, prob = best[0]
                labels = self._classifier.labels(scores)
                found.append(Prediction(None if rejected else label, prob, best, labels, rejected))
        return found

    def close(self) -> None:
        """End the threads and give BLAS its own back; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._predictor.__exit__()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pixels(self, pictures: Picture | Iterable[Picture]) -> Iterator[Pixels]:
        pre = self._classifier.preprocess
        for number, picture in enumerate(_many(pictures)):
            if isinstance(picture, np.ndarray) and not pre.is_plain:
                yield _fit_array(picture, pre, number)
            elif isinstance(picture, np.ndarray):
                yield fit_image(_as_image(picture, number), pre, f"picture {number}")
            elif isinstance(picture, Image.Image):
                yield fit_image(picture, pre, f"picture {number}")
            elif isinstance(picture, bytes):
                yield load_image(picture, pre, f"picture {number}")
            else:
                yield load_image(fspath(picture), pre)


def load(
    path: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    threads: int | None = None,
    backend: str | None = None,
) -> Model:
    """Read a checkpoint, or several whose probabilities are averaged.

    Args:
        path: an `.npz`, or a run folder: its `best.npz`, else its `last.npz`, or the networks of
            all its folds; or several of these.
        threads: at least 1; by default the cores this process may use.
        backend: see `Model`.

    Raises:
        DataError: it is absent, damaged, or does not fit its own config; or several do not go
            together.
        UsageError: the backend `fast` without numba.
        ValueError: `threads` below 1, a backend of another name, or no path.
    """
    if threads is not None:
        _at_least_1("threads", threads)
    if backend is not None and backend not in get_args(Backend):
        raise ValueError(f"backend must be {' or '.join(get_args(Backend))}. Got {backend!r}.")
    paths = [path] if isinstance(path, str | PathLike) else list(path)
    if not paths:
        raise ValueError("path must be a checkpoint, or several. Got none.")
    classifier = open_classifier([Path(each) for each in paths])
    return Model(classifier, threads or cpu_count(), backend)


def _at_least_1(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number, at least 1. Got {value!r}.")


def _many(pictures: Picture | Iterable[Picture]) -> Iterable[Picture]:
    if isinstance(pictures, str | bytes | PathLike | Image.Image):
        return [pictures]
    if isinstance(pictures, np.ndarray):
        return pictures if pictures.ndim > 3 else [pictures]
    return pictures


def _fit_array(values: NDArray[Any], pre: Preprocess, number: int) -> Pixels:
    from cnn_cli.data.samples import depth_of, fit_array

    whole = "real numbers" if pre.depth == "float" else "uint8 or uint16"
    right = values.ndim in (2, 3) and 0 not in values.shape and values.dtype.kind in "buif"
    bands = values.shape[2] if values.ndim == 3 else 1
    fits = bands == pre.channels or (bands in (1, 3) and pre.channels in (1, 3))
    if not right or not fits or (pre.depth != "float" and depth_of(values.dtype) == "float"):
        rule = f"must be {whole} of shape (h, w, {pre.channels})"
        raise ValueError(f"picture {number}: {rule}. Got {values.dtype} of shape {values.shape}.")
    return fit_array(values, pre, f"picture {number}")


def _as_image(pixels: NDArray[Any], number: int) -> Image.Image:
    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    right = grey.ndim == 2 or (grey.ndim == 3 and grey.shape[2] in (3, 4))
    if not right or grey.dtype != np.uint8 or 0 in grey.shape:
        rule = "must be uint8 of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"
        raise ValueError(f"picture {number}: {rule}. Got {pixels.dtype} of shape {pixels.shape}.")
    return Image.fromarray(np.ascontiguousarray(grey))


__all__ = ["ImageError", "Model", "Prediction", "load"]
