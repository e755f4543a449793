"""Predictions for a stream of images whose number is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cnn_cli.closing import Closing
from cnn_cli.data import decode_ahead
from cnn_cli.data.decode_ahead import Decoded
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.sources import Entry
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.metrics import top_k
from cnn_cli.nn.backends import BULK, backend_for
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.structs import Struct

if TYPE_CHECKING:
    from cnn_cli.inference.rejecting import Rejecting
    from cnn_cli.inference.scorer import OpenScorer


class Prediction(Struct):
    """The prediction for one image.

    Attributes:
        path: as typed, joined with the name below it.
        label: the most probable class; None if its probability is below the requested minimum. With
            several labels, all of them joined.
        prob: probability of the most probable class; None if the image could not be read.
        topk: the most probable classes and their probabilities, best first.
        error: why the image could not be read.
        probs: probabilities of all classes, in their order; only on request.
        size, time: size in bytes and modification time in seconds since 1970 of the file, or of its
            archive, before it was read.
        file: where the image was put.
        labels: with several labels, each with its probability, most probable first.
        rejected: the image was rejected and has no label.
    """

    path: str
    label: str | None = None
    prob: float | None = None
    topk: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    probs: tuple[float, ...] | None = None
    size: int | None = None
    time: float | None = None
    file: str | None = None
    labels: tuple[tuple[str, float], ...] | None = None
    rejected: bool = False


class Predictor(Closing):
    """A classifier that predicts, and holds threads until it is closed.

    Unless a backend was requested it begins with NumPy, which needs no loading, and switches to the
    fastest backend after `BULK` images.

    Args:
        classifier: the classifier.
        threads: number of worker threads.
        backend: `numpy` or `fast`, for all images.
        note: receives notes about compiling kernels.

    Raises:
        UsageError: `fast` without numba.
    """

    _rejecting: Rejecting | None = None  # the scorer if it may reject images

    def __init__(
        self,
        classifier: Classifier,
        threads: int,
        backend: str | None,
        note: Callable[[str], None],
    ) -> None:
        self.classifier = classifier
        self.threads = threads
        self.images = 0
        self._chosen = backend is not None
        self._note = note
        self._scorer = self._open(backend or backend_for(0))

    def probabilities(self, images: Sequence[Pixels]) -> Array:
        """Return probabilities (n, classes) of one or more images, each (h, w, c) uint8, decoded as
        `Classifier.decoding` says.
        """
        if not self._chosen and self.images >= BULK:
            self._chosen = True
            self._scorer.close()
            best = backend_for(self.images)
            self._scorer = self._open(best)
        self.images += len(images)
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the probabilities
            return self.classifier.probabilities(self._scorer.predict(np.stack(images)))

    def best(self, scores: Array, topk: int) -> tuple[tuple[str, float], ...]:
        """Return an image's most probable classes and their probabilities, best first.

        Args:
            scores: (classes,) probabilities.
            topk: number of classes.
        """
        classes = self.classifier.classes
        return tuple((classes[i], round(float(scores[i]), 8)) for i in top_k(scores[None], topk)[0])

    def rejected(self, images: int) -> Sequence[bool]:
        """Return which images of the last call of `probabilities` were rejected."""
        rejecting = self._rejecting
        return [False] * images if rejecting is None else rejecting.rejected.tolist()

    def predictions(
        self, batch: Sequence[Decoded], topk: int, min_prob: float, probs: bool = False
    ) -> tuple[list[Prediction], list[ImageError]]:
        """Return the predictions of a batch in order, and the errors of unreadable images.

        Args:
            batch: paths and decoded images.
            topk: number of classes in a prediction.
            min_prob: predictions below it get no label; with several labels it applies besides the
                thresholds.
            probs: whether predictions contain the probabilities of all classes.
        """
        pixels = [image for _, image in batch if not isinstance(image, ImageError)]
        probabilities = iter(self.probabilities(pixels)) if pixels else iter(())
        refused = iter(self.rejected(len(pixels)) if pixels else ())
        found, errors = [], []
        for path, image in batch:
            if isinstance(image, ImageError):
                errors.append(image)
                found.append(Prediction(path, error=image.message))
                continue
            scores = next(probabilities)
            best = self.best(scores, topk)
            label, prob = best[0]
            all_of_them = tuple(round(float(score), 8) for score in scores) if probs else None
            labels = self.classifier.labels(scores, min_prob)
            if labels is None:
                given = label if scores.max() >= min_prob else None
            else:
                given = self.classifier.label_text([name for name, _ in labels])
            rejected = next(refused)
            given = None if rejected else given
            found.append(
                Prediction(
                    path,
                    given,
                    prob,
                    best,
                    probs=all_of_them,
                    labels=labels,
                    rejected=rejected,
                )
            )
        return found, errors

    def _open(self, backend: str) -> OpenScorer | Rejecting:
        if not self.classifier.rejects:
            return self.classifier.scorer(self.threads, backend, self._note)
        from cnn_cli.inference.rejecting import open_rejecting

        self._rejecting = open_rejecting(self.classifier, self.threads, backend, self._note)
        return self._rejecting

    def close(self) -> None:
        self._scorer.close()


def decoded_batches(
    entries: Iterator[Entry | None], pre: Preprocess, size: int, threads: int, job: Ranks
) -> Iterator[list[Decoded]]:
    """Decode images in batches, a few ahead: all of them, or this rank's part of each round.

    Args:
        entries: the images; only rank 0's are used. None means that the next one is not there yet:
            the images so far form a batch.
        pre: the preprocessing.
        size: images per batch.
        threads: number of decoding threads.
        job: the ranks that share the images.
    """
    if job.size > 1:
        from cnn_cli.parallel.shared_items import rounds

        return decode_ahead.decode_batches(rounds(entries, size, job), pre, threads)
    return _batched(decode_ahead.decode_live(entries, pre, threads), size)


def _batched(images: Iterable[Decoded | None], size: int) -> Iterator[list[Decoded]]:
    batch = []
    for image in chain(images, [None]):
        if image is not None:
            batch.append(image)
        if len(batch) == size or (batch and image is None):
            yield batch
            batch = []
