"""What scores images: one network, several, or one that looks at several views of each image."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np

from cnn_cli.closing import Closing
from cnn_cli.data.views import Views
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Array


class Scorer(Protocol):
    """What evaluates: the engine of one network, of several or of views, or one that keeps
    features.

    Attributes:
        graph: the network; of several, the first.
        dtype: dtype of the scores.
    """

    graph: Graph
    dtype: np.dtype[Any]

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        """Return logits (n, classes), valid until the next call.

        Args:
            x: (n, h, w, c) images, as they were decoded, or what is kept of them.
            params: parameters to use instead of the engine's, such as averaged ones.
        """


class OpenScorer(Scorer, Protocol):
    """A scorer that holds threads until it is closed."""

    def close(self) -> None:
        """End the threads."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ViewsEngine(Closing):
    """Test-time augmentation: averages the logits of several views of each image.

    Attributes:
        graph, dtype: as in `Scorer`.

    Args:
        engine: the engine, which `close` closes.
        views: the views; images must have been decoded with `views.pre`.
    """

    def __init__(self, engine: Engine, views: Views) -> None:
        self.graph = engine.graph
        self.dtype = engine.dtype
        self._engine = engine
        self._views = views

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # as the engine's own arithmetic
            return self._views.mean(x, lambda view: self._engine.predict(view, params))

    def close(self) -> None:
        self._engine.close()
