"""Probabilities for images of which nobody knows beforehand how many will come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnn_cli.data.decode import Pixels
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.backends import BULK, backend_for
from cnn_cli.nn.types import Array


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
        self._engine = classifier.engine(threads, backend or backend_for(0), note)

    def probabilities(self, images: Sequence[Pixels]) -> Array:
        """One or more images, each (h, w, c) bytes, to (images, classes)."""
        if not self._chosen and self.images >= BULK:
            self._chosen = True
            self._engine.close()
            best = backend_for(self.images)
            self._engine = self.classifier.engine(self.threads, best, self._note)
        self.images += len(images)
        return self.classifier.probabilities(self._engine.predict(np.stack(images)))

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()
