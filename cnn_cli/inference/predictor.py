"""Predictions for images of which nobody knows beforehand how many will come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cnn_cli.data import decode_ahead
from cnn_cli.data.decode import ImageError, Preprocess
from cnn_cli.data.depth import Pixels
from cnn_cli.data.sources import Entry
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.metrics import top_k
from cnn_cli.nn.backends import BULK, backend_for
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.structs import Struct

if TYPE_CHECKING:
    from cnn_cli.inference.ensemble import EnsembleEngine
    from cnn_cli.inference.rejection import RejectingScorer
    from cnn_cli.nn.engine import Engine

Decoded = tuple[str, Pixels | ImageError]


class Prediction(Struct):
    """What the network says of one image.

    Attributes:
        path: as typed, joined with the name below it.
        label: of the likeliest class; None below the least probability that was asked for. Where
            an image may have several labels, all of them as a list has them.
        prob: the probability of the likeliest class; None where the image could not be read.
        topk: the likeliest classes and their probabilities, best first.
        error: why the image could not be read.
        probs: of all classes, in their order; only where they were asked for.
        size, time: of the file, in bytes and in seconds since 1970, before it was read.
        file: where it was put.
        labels: where an image may have several, each with its probability, the likeliest first.
        rejected: it is of none of the classes, and so has no label.
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


class Predictor:
    """A classifier at work; a context manager that ends its threads.

    Without a backend that was asked for it begins with NumPy, for which nothing has to be loaded,
    and goes on with the best one once `BULK` images have come.

    Args:
        classifier: what names the images.
        threads: workers.
        backend: `numpy` or `fast`, for all images.
        note: told what the user should know about compiled kernels.

    Raises:
        UsageError: `fast` without numba.
    """

    _rejecting: RejectingScorer | None = None  # the scorer, where it may refuse images

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
        """One or more images, each (h, w, c) bytes, to (images, classes)."""
        if not self._chosen and self.images >= BULK:
            self._chosen = True
            self._scorer.close()
            best = backend_for(self.images)
            self._scorer = self._open(best)
        self.images += len(images)
        return self.classifier.probabilities(self._scorer.predict(np.stack(images)))

    def rejected(self, images: int) -> Sequence[bool]:
        """Which of the images of the last call of `probabilities` are of none of the classes."""
        rejecting = self._rejecting
        return [False] * images if rejecting is None else rejecting.rejected.tolist()

    def predictions(
        self, batch: Sequence[Decoded], topk: int, min_prob: float, probs: bool = False
    ) -> tuple[list[Prediction], list[ImageError]]:
        """What the network says of some images, in their order, and which could not be read.

        Args:
            batch: paths and what was decoded.
            topk: how many classes a prediction lists.
            min_prob: below it there is no label; one of several must reach its threshold, too.
            probs: whether a prediction has the probabilities of all classes.
        """
        classes = self.classifier.classes
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
            best = tuple(
                (classes[i], round(float(scores[i]), 8)) for i in top_k(scores[None], topk)[0]
            )
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

    def _open(self, backend: str) -> Engine | EnsembleEngine | RejectingScorer:
        self._rejecting = self.classifier.rejecting(self.threads, backend, self._note)
        if self._rejecting is not None:
            return self._rejecting
        return self.classifier.scorer(self.threads, backend, self._note)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._scorer.close()


def decoded_batches(
    entries: Iterator[Entry | None], pre: Preprocess, size: int, threads: int, job: Ranks
) -> Iterator[list[Decoded]]:
    """Decode images in batches, a few of them ahead: all, or this rank's part of each round.

    Args:
        entries: what to read; only rank 0's are looked at. None says that the next one is waited
            for: what has come is a batch.
        pre: how images become pixels.
        size: images a batch.
        threads: that decode.
        job: the ranks that share the images.
    """
    if job.size > 1:
        from cnn_cli.parallel.streams import rounds

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
