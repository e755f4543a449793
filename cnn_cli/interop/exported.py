"""The metadata that `cnn export` writes beside a network, and that `cnn import` reads."""

from __future__ import annotations

import json
from typing import Any

from cnn_cli import __version__, strict_json
from cnn_cli.config import Config, plain_config, validate_config
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.interop.foreign import Foreign

EXPORTED = "cnn_version"  # in the metadata of every file that `cnn export` wrote


def metadata(classifier: Classifier) -> dict[str, str]:
    """Return what a reader needs besides the arrays; lists as JSON."""
    several, labels = classifier.several, {}
    if several is not None:
        labels = {"thresholds": json.dumps(several.thresholds), "label_sep": several.separator}
    return labels | {
        "classes": json.dumps(classifier.classes),
        "mean": json.dumps(classifier.normalization.mean),
        "std": json.dumps(classifier.normalization.std),
        **_form(classifier.preprocess),
        EXPORTED: __version__,
    }


def _form(pre: Preprocess) -> dict[str, str]:
    """Return the keys of `data` that tell what images the network reads."""
    return {
        "image_size": json.dumps([pre.height, pre.width]),
        "channels": str(pre.channels),
        "depth": str(pre.depth),
        "resize_mode": pre.resize_mode,
    }


def exported_data(foreign: Foreign) -> dict[str, Any]:
    """Return the keys of `data` that `cnn export` wrote; none of another file."""
    if EXPORTED not in foreign.facts:
        return {}
    data = {key: exported_value(foreign, key) for key in ("classes", "mean", "std")}
    texts = ("resize_mode", "label_sep")
    data |= {key: foreign.facts[key] for key in texts if key in foreign.facts}
    if (depth := foreign.facts.get("depth")) is not None:
        data["depth"] = int(depth) if depth.isdecimal() else depth
    return data


def with_exported(
    config: Config, source: str, foreign: Foreign, *, classes: bool, normalization: bool
) -> tuple[Config, list[str]]:
    """Fill in what a config leaves open from what `cnn export` wrote; note where they differ.

    Args:
        source: the config's file, for messages.
        classes, normalization: whether to take over the classes, and mean and std.

    Returns:
        The config, and a note for each key of `data` that differs.
    """
    if EXPORTED not in foreign.facts:
        return config, []
    document = plain_config(config)
    data = document["data"]
    if classes and data["classes"] is None:
        data["classes"] = exported_value(foreign, "classes")
    for key in ("mean", "std"):
        if normalization and data[key] == "auto":
            data[key] = exported_value(foreign, key) or "auto"
    notes = [
        f"data.{key} is {own}; the file was exported with {written}"
        for key, own in _form(config.data.preprocess).items()
        if (written := foreign.facts.get(key, own)) != own
    ]
    return validate_config(document, source), notes


def exported_value(foreign: Foreign, key: str) -> Any:
    """Return a value that `cnn export` wrote as JSON; None if there is none.

    Raises:
        DataError: it is not JSON.
    """
    if EXPORTED not in foreign.facts:
        return None
    try:
        return strict_json.loads(foreign.facts.get(key, "null"))
    except ValueError as error:
        raise DataError(foreign.place, f"{key} beside its network must be JSON") from error
