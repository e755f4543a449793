"""Grad-CAM: which image regions a prediction depends on (Selvaraju et al. 2017, section 3).

The weight of feature map k is the mean gradient of the class score: α_k = mean(∂y_c/∂A_k). The heat
map is ReLU(Σ_k α_k A_k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnn_cli.closing import Closing
from cnn_cli.errors import DataError, UsageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.embedding import LAYER, layer_named
from cnn_cli.inference.ensemble import Ensemble, EnsembleEngine
from cnn_cli.nn.attribution import ScoreGradients
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.types import Array

MAP = "whose output is a map of more than one pixel"
PASSED_OVER = ("maxpool", "avgpool", "dropout", "identity")


def find_layer(graph: Graph, name: str | None, place: str) -> Node:
    """Return the layer to explain.

    Args:
        graph: the network.
        name: name of a layer; None for the last one with a spatial output, before global pooling.
        place: the checkpoint, for messages.

    Raises:
        UsageError: no layer has that name, or its output has no spatial dimensions.
        DataError: no layer has a spatial output.
    """
    if name is None:
        for node in reversed(graph.nodes):
            if _has_map(node) and node.layer.kind not in PASSED_OVER:
                return node
        raise DataError(place, f"must have a layer {MAP}")
    node = layer_named(graph, name)
    if not _has_map(node):
        got = f"{name}, whose output is {shape_text(node.layer.out_shape)}"
        raise UsageError(LAYER, f"must be a layer {MAP}", got)
    return node


def heat_maps(found: ScoreGradients) -> Array:
    """Compute heat maps (n, h, w) from 0 to 1; all 0 if nothing supports the class.

    Args:
        found: activations and gradients, both (n, h, w, maps).
    """
    alpha = found.gradients.mean(axis=(1, 2))
    return _to_1(np.einsum("nhwk,nk->nhw", found.activations, alpha).clip(min=0))


@dataclass(frozen=True, slots=True)
class Explained:
    """Explanations of n images.

    Attributes:
        classes: (n,) the explained classes.
        probabilities: (n, classes).
        heats: (n, h, w), see `heat_maps`.
    """

    classes: Array
    probabilities: Array
    heats: Array


class Explainer(Closing):
    """Grad-CAM of a classifier; holds threads until it is closed.

    For several networks, the heat map is the mean of theirs, for the class of their mean
    probabilities; smaller maps are enlarged to the largest.

    Args:
        classifier: the classifier, opened with `ONE_VIEW`.
        nodes: for each network, the layer to explain.
        threads: number of worker threads.
    """

    def __init__(self, classifier: Classifier, nodes: Sequence[Node], threads: int) -> None:
        self.classifier = classifier
        self._scorer: Engine | EnsembleEngine
        if isinstance(classifier, Ensemble):
            self._scorer = classifier.scorer(threads)
            engines = self._scorer.engines
        else:
            self._scorer = classifier.engine(threads)
            engines = [self._scorer]
        self._attributions = [
            engine.attribution(node.index) for engine, node in zip(engines, nodes, strict=True)
        ]

    def __call__(self, images: Array, classes: Array | None = None) -> Explained:
        """Explain images (n, h, w, c), uint8.

        Args:
            images: at least one.
            classes: (n,) the classes to explain; None for each image's most probable class.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # overflow shows in the probabilities
            return self._explained(images, classes)

    def _explained(self, images: Array, classes: Array | None) -> Explained:
        if not isinstance(self._scorer, EnsembleEngine):
            found = self._attributions[0](images, classes)
            logits, classes, heats = found.logits, found.classes, heat_maps(found)
        else:
            logits = self._scorer.predict(images)
            classes = logits.argmax(axis=1) if classes is None else classes
            maps = [
                heat_maps(attribution(images, self._scorer.own_numbers(position, classes)))
                for position, attribution in enumerate(self._attributions)
            ]
            heats = _mean(maps)
        return Explained(classes, self.classifier.probabilities(logits), heats)

    def close(self) -> None:
        self._scorer.close()


def _mean(maps: Sequence[Array]) -> Array:
    """Average the heat maps (n, h, w) of several networks, each of its own size."""
    height, width = (max(heat.shape[axis] for heat in maps) for axis in (1, 2))
    return _to_1(np.mean([_enlarged(heat, height, width) for heat in maps], axis=0))


def _enlarged(heats: Array, height: int, width: int) -> Array:
    if heats.shape[1:] == (height, width):
        return heats
    size, how = (width, height), Image.Resampling.BILINEAR
    images = (Image.fromarray(heat.astype(np.float32)).resize(size, how) for heat in heats)
    return np.stack([np.asarray(image) for image in images])


def _to_1(heat: Array) -> Array:
    """Divide each heat map (n, h, w) by its maximum; all 0 if that is 0."""
    top = heat.max(axis=(1, 2), keepdims=True)
    heat /= np.where(top > 0, top, 1)
    return heat


def _has_map(node: Node) -> bool:
    shape = node.layer.out_shape
    return len(shape) == 3 and shape[0] * shape[1] > 1
