"""Features of pictures: what a layer makes of them, to compare, cluster or learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cnn_cli import safe_csv
from cnn_cli.data.decode import ImageError
from cnn_cli.data.depth import Pixels
from cnn_cli.errors import UsageError, suggest
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.types import Array

Decoded = tuple[str, Pixels | ImageError]


def find_tensor(graph: Graph, name: str | None) -> int:
    """The tensor that features are of: a layer's output, or without a name what the last layer with
    weights reads, which may be the image itself.

    Raises:
        UsageError: no layer has that name.
    """
    if name is None:
        return next(node for node in reversed(graph.nodes) if node.layer.params).inputs[0]
    nodes = {node.name: node.index for node in graph.nodes}
    if name not in nodes:
        rule = f"must be a layer of the network.{suggest(name, nodes)}"
        raise UsageError("--layer", rule, repr(name))
    return nodes[name]


class Embedder:
    """Makes features (n, d) of pictures.

    Those of a layer that was named are averaged over the pixels of its map, if it has one. What the
    last layer reads is as it reads it: channel, row, column, as in PyTorch.

    Args:
        classifier: the network.
        engine: of it.
        layer: see `find_tensor`.
    """

    def __init__(self, classifier: Classifier, engine: Engine, layer: str | None) -> None:
        graph = classifier.graph
        self.tensor = find_tensor(graph, layer)
        self.name = "image" if self.tensor == IMAGE else graph.nodes[self.tensor].name
        self._averages = layer is not None
        self._classifier = classifier
        self._compute: Callable[[Array], Array]
        if self.tensor == IMAGE:
            self._compute = self._normalized
        else:
            self._compute = engine.features(self.tensor)

    def __call__(self, images: Sequence[Pixels]) -> Array:
        """Features (n, d), float32, of one or more images, each (h, w, c) bytes."""
        found = self._compute(np.stack(images))
        if found.ndim == 4:
            found = found.mean(axis=(1, 2)) if self._averages else found.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(found.reshape(len(found), -1), np.float32)

    def _normalized(self, x: Array) -> Array:
        scale, shift = self._classifier.normalization.scale_and_shift()
        normalized: Array = x * scale + shift
        return normalized


def embedded(
    embedder: Embedder, batches: Iterable[Sequence[Decoded]], tell: Callable[[ImageError], object]
) -> Iterator[tuple[list[str], Array]]:
    """Names and features of batches of pictures; what cannot be read is told and left out."""
    for batch in batches:
        good = [(name, image) for name, image in batch if not isinstance(image, ImageError)]
        for _, image in batch:
            if isinstance(image, ImageError):
                tell(image)
        if good:
            yield [name for name, _ in good], embedder([image for _, image in good])


def csv_lines(found: Iterable[tuple[Sequence[str], Array]]) -> Iterator[str]:
    """`path,f1,f2,…` and a line a picture; numbers with the digits that float32 has."""
    is_first = True
    for names, features in found:
        if is_first:
            columns = range(1, features.shape[1] + 1)
            yield safe_csv.line(["path", *(f"f{column}" for column in columns)])
            is_first = False
        for name, row in zip(names, features, strict=True):
            numbers = "".join(f",{x:.9g}" for x in row)
            yield f"{safe_csv.line([name])[:-1]}{numbers}\n"
