"""The weights of the classes in the loss: `train.class_weights`."""

from __future__ import annotations

import numpy as np

from cnn_cli.config import Config
from cnn_cli.data.dataset import Dataset
from cnn_cli.data.targets import are_multiple, class_counts
from cnn_cli.errors import ConfigError
from cnn_cli.nn.types import Array


def class_weights(config: Config, dataset: Dataset, source: str) -> Array | None:
    """Return `train.class_weights` as an array (classes,), or None.

    `balanced` weights a class by images / (classes · images of the class), as scikit-learn does.
    With several labels per image, the weight of a present label is the number of images without the
    class divided by the number with it.

    Raises:
        ConfigError: there is not one weight per class, or all are 0.
    """
    weights = config.train.class_weights
    if weights is None:
        return None
    classes = len(dataset.classes)
    if weights == "balanced":
        counts, images = class_counts(dataset.train.labels, classes), len(dataset.train)
        balanced: Array = images / (classes * counts)
        if are_multiple(dataset.train.labels):
            balanced = (images - counts) / counts
        return balanced
    if len(weights) != classes:
        place = f"{source}: train.class_weights"
        raise ConfigError(place, f"must have one weight per class, {classes}", len(weights))
    if not any(weights):
        raise ConfigError(f"{source}: train.class_weights", "must not all be 0")
    return np.array(weights)
