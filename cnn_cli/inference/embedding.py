"""Features of images: the output of a layer, for comparing, clustering or further training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cnn_cli import safe_csv
from cnn_cli.data.decode_ahead import Decoded
from cnn_cli.data.depth import Pixels
from cnn_cli.data.image_error import ImageError
from cnn_cli.errors import UsageError, suggest
from cnn_cli.inference.classifier import Classifier
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.types import Array

LAYER = "--layer"


def find_tensor(graph: Graph, name: str | None) -> int:
    """Return the tensor to use as features: a layer's output or, without a name, the input of the
    last layer with weights, which may be the image itself.

    Raises:
        UsageError: no layer has that name.
    """
    if name is None:
        return next(node for node in reversed(graph.nodes) if node.layer.params).inputs[0]
    return layer_named(graph, name).index


def layer_named(graph: Graph, name: str) -> Node:
    """Return the layer that `--layer` names.

    Raises:
        UsageError: no layer has that name.
    """
    nodes = {node.name: node for node in graph.nodes}
    if name not in nodes:
        rule = f"must be a layer of the network.{suggest(name, nodes)}"
        raise UsageError(LAYER, rule, repr(name))
    return nodes[name]


class Embedder:
    """Computes features (n, d) of images.

    The output of a named layer is averaged over its spatial positions. The input of the last layer
    is flattened in the order channel, row, column, as in PyTorch.

    Args:
        classifier: the network.
        engine: its engine.
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

    def __call__(self, images: Sequence[Pixels] | Pixels) -> Array:
        """Return features (n, d), float32, of one or more images, each (h, w, c) uint8."""
        found = self._compute(images if isinstance(images, np.ndarray) else np.stack(images))
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
    """Yield names and features of batches of images.

    Unreadable images, and those whose features are not finite, are reported and left out.
    """
    for batch in batches:
        good = [(name, image) for name, image in batch if not isinstance(image, ImageError)]
        for _, image in batch:
            if isinstance(image, ImageError):
                tell(image)
        if not good:
            continue
        features = embedder([image for _, image in good])
        finite = np.isfinite(features).all(axis=1)
        for place in np.flatnonzero(~finite):
            tell(ImageError(good[place][0], "must have finite features"))
        if finite.any():
            yield [good[place][0] for place in np.flatnonzero(finite)], features[finite]


def csv_lines(found: Iterable[tuple[Sequence[str], Array]]) -> Iterator[str]:
    """Yield `path,f1,f2,…` and one line per image, with as many digits as float32 has."""
    is_first = True
    for names, features in found:
        if is_first:
            columns = range(1, features.shape[1] + 1)
            yield safe_csv.line(["path", *(f"f{column}" for column in columns)])
            is_first = False
        for name, row in zip(names, features, strict=True):
            numbers = "".join(f",{x:.9g}" for x in row)
            yield f"{safe_csv.line([name])[:-1]}{numbers}\n"
