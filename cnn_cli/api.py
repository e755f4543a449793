"""Prediction from Python, with the preprocessing and the results of `cnn predict`.

import cnn_cli

with cnn_cli.load("runs/small") as model:
    for found in model.predict(["a.jpg", "b.jpg"]):
        print(found.label, found.prob)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import isnan
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn_cli.data.decode import fit_image, load_image
from cnn_cli.data.depth import REAL_KINDS, Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import listed
from cnn_cli.inference.classifier import ONE_VIEW, Classifier
from cnn_cli.inference.opening import open_classifier
from cnn_cli.inference.predictor import Predictor
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.system import cpu_count

Picture = str | PathLike[str] | bytes | NDArray[Any] | Image.Image


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        label: the most probable class; None if the image was rejected, or no score is finite.
        prob: its probability, from 0 to 1.
        topk: the most probable classes as pairs (name, probability), in descending order.
        labels: with `data.labels: multiple`, the labels at or above their thresholds as pairs
            (name, probability), in descending order, possibly none; None if each image has one
            label.
        rejected: whether the image was rejected as unlike the training images; only checkpoints
            written by `cnn eval --reject` reject.
    """

    label: str | None
    prob: float
    topk: tuple[tuple[str, float], ...]
    labels: tuple[tuple[str, float], ...] | None = None
    rejected: bool = False


class Model:
    """A trained network that predicts; use it as a context manager, or call `close`.

    While it is open, its worker threads wait for images and BLAS is limited to one thread per
    worker.

    Args:
        classifier: the network that `load` has read.
        threads: number of worker threads, at least 1.
        backend: `numpy`, or `fast`, which needs the extra of that name. By default the faster of
            the installed ones, depending on the number of images.

    Raises:
        UsageError: `fast` was asked for, and numba is not installed.
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
        """(height, width) in pixels to which each image is resized before it enters the network."""
        return self._classifier.preprocess.height, self._classifier.preprocess.width

    def predict(
        self, pictures: Picture | Iterable[Picture], *, topk: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """Classify images; the results have the order of the images.

        Args:
            pictures: one image or an iterable of images of any size: paths, bytes of an image file,
                Pillow images, or uint8 arrays of shape (h, w), (h, w, 1), (h, w, 3) in RGB, (h, w,
                4) in RGBA, or (n, h, w, c) for n images. If the model was trained with other
                `data.channels` or `data.depth`: arrays of shape (h, w) or (h, w, bands), uint8 or
                uint16, or any real numbers for `data.depth: float`.
            topk: number of classes in `Prediction.topk`, at least 1. Larger numbers than the number
                of classes give all classes.
            batch_size: number of images that pass through the network together, at least 1.

        Returns:
            One `Prediction` per image.

        Your arrays and images are not modified, except that Pillow decodes an image that was only
        opened. A large JPEG that Pillow has opened but not decoded is read from its file at a
        reduced size, as a path would be.

        Raises:
            ImageError: an image cannot be read: the file is missing, damaged or not an image, the
                Pillow image is closed or empty, or the array contains NaN or infinity.
            ValueError: an array has an unsupported shape or dtype, `topk` or `batch_size` is below
                1, or the model is closed.
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
                best = self._predictor.best(scores, topk)
                label, prob = best[0]
                labels = self._classifier.labels(scores)
                known = None if rejected or isnan(prob) else label
                found.append(Prediction(known, prob, best, labels, rejected))
        return found

    def close(self) -> None:
        """End the worker threads and restore the number of BLAS threads. Closing twice is
        allowed.
        """
        if not self._closed:
            self._closed = True
            self._predictor.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pixels(self, pictures: Picture | Iterable[Picture]) -> Iterator[Pixels]:
        pre = self._classifier.decoding
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
    tta: str | None = None,
) -> Model:
    """Load a checkpoint, or several checkpoints whose probabilities are averaged.

    Args:
        path: an `.npz` file, or a run folder: its `best.npz`, or `last.npz` if there is none, or
            the networks of all its folds. A list of these loads an ensemble.
        threads: number of worker threads, at least 1; by default the CPU cores that this process
            may use.
        backend: `numpy` or `fast`, see `Model`.
        tta: test-time augmentation: `none`, `hflip`, `multicrop` or `tencrop`; by default what each
            checkpoint was trained with, `augment.tta`.

    Returns:
        The model, ready to predict.

    Raises:
        DataError: a checkpoint is missing or damaged or does not fit its own config, or the
            checkpoints of an ensemble differ in their classes or preprocessing.
        UsageError: `fast` was asked for, and numba is not installed.
        ValueError: `threads` is below 1, the backend or `tta` is unknown, or no path is given.
    """
    if threads is not None:
        _at_least_1("threads", threads)
    if backend is not None and backend not in get_args(Backend):
        raise ValueError(f"backend must be {' or '.join(get_args(Backend))}. Got {backend!r}.")
    if tta not in (None, ONE_VIEW):
        from cnn_cli.data.views import TTA

        if tta not in TTA:
            kinds = listed([ONE_VIEW, *TTA], last=" or ")
            raise ValueError(f"tta must be {kinds}. Got {tta!r}.")
    paths = [path] if isinstance(path, str | PathLike) else list(path)
    if not paths:
        raise ValueError("path must be a checkpoint, or several. Got none.")
    classifier = open_classifier([Path(each) for each in paths], tta)
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
    right = values.ndim in (2, 3) and 0 not in values.shape and values.dtype.kind in REAL_KINDS
    bands = values.shape[2] if values.ndim == 3 else 1
    fits = bands == pre.channels or (bands in (1, 3) and pre.channels in (1, 3))
    if not right or not fits or (pre.depth != "float" and depth_of(values.dtype) == "float"):
        rule = f"must be {whole} of shape (h, w, {pre.channels})"
        raise ValueError(f"picture {number}: {rule}. Got {values.dtype} of shape {values.shape}.")
    return fit_array(values, pre, f"picture {number}")


def _as_image(pixels: NDArray[Any], number: int) -> Image.Image:
    gray = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    right = gray.ndim == 2 or (gray.ndim == 3 and gray.shape[2] in (3, 4))
    if not right or gray.dtype != np.uint8 or 0 in gray.shape:
        rule = "must be uint8 of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"
        raise ValueError(f"picture {number}: {rule}. Got {pixels.dtype} of shape {pixels.shape}.")
    return Image.fromarray(np.ascontiguousarray(gray))


__all__ = ["ImageError", "Model", "Prediction", "load"]
