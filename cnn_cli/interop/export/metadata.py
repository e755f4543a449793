"""The metadata of an exported file."""

from __future__ import annotations

import json

from cnn_cli import __version__
from cnn_cli.inference.classifier import Classifier


def metadata(classifier: Classifier) -> dict[str, str]:
    """Return what a reader needs besides the arrays; lists as JSON."""
    pre, several = classifier.preprocess, classifier.several
    labels = {}
    if several is not None:
        labels = {"thresholds": json.dumps(several.thresholds), "label_sep": several.separator}
    return labels | {
        "classes": json.dumps(classifier.classes),
        "mean": json.dumps(classifier.normalization.mean),
        "std": json.dumps(classifier.normalization.std),
        "image_size": json.dumps([pre.height, pre.width]),
        "channels": str(pre.channels),
        "depth": str(pre.depth),
        "resize_mode": pre.resize_mode,
        "cnn_version": __version__,
    }
