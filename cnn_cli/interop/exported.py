"""The metadata beside a network of this program, in an exported file or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli import __version__, strict_json
from cnn_cli.config import Config, plain_config, validate_config
from cnn_cli.data.normalization import Normalization
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import ConfigError, DataError
from cnn_cli.inference.classifier import Classifier, SeveralLabels
from cnn_cli.interop.foreign import Foreign
from cnn_cli.runs.meta import TEMPERATURES

EXPORTED = "cnn_version"  # in the metadata of every network of this program


def metadata(classifier: Classifier, *, temperature: bool) -> dict[str, str]:
    """Return what a reader needs besides the arrays; lists as JSON.

    Args:
        classifier: the checkpoint.
        temperature: whether to write the temperature, which the arrays lack.
    """
    return _metadata(
        classifier.classes,
        classifier.normalization,
        classifier.preprocess,
        classifier.several,
        classifier.temperature if temperature else 1.0,
    )


def checkpoint_metadata(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a checkpoint in the same form."""
    return _metadata(
        meta["classes"],
        Normalization.stored(meta),
        Preprocess(**meta["preprocess"]),
        SeveralLabels.stored(meta),
        meta.get("calibration", {}).get("temperature", 1.0),
    )


def _metadata(
    classes: Sequence[str],
    normalization: Normalization,
    pre: Preprocess,
    several: SeveralLabels | None,
    temperature: float,
) -> dict[str, str]:
    labels = {} if temperature == 1 else {"temperature": json.dumps(temperature)}
    if several is not None:
        labels |= {"thresholds": json.dumps(several.thresholds), "label_sep": several.separator}
    return labels | {
        "classes": json.dumps(classes),
        "mean": json.dumps(normalization.mean),
        "std": json.dumps(normalization.std),
        **_form(pre),
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
    """Return the keys of `data` in the metadata of this program; none of another file."""
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
    """Fill in what a config leaves open from this program's metadata; note where they differ.

    Args:
        source: the config's file, for messages.
        classes, normalization: whether to take over the classes, and mean and std.

    Returns:
        The config, and a note for each key of `data` that differs.

    Raises:
        ConfigError: the images of the file's network have several labels, or one, and the config's
            do not.
    """
    if EXPORTED not in foreign.facts:
        return config, []
    labels = "multiple" if "thresholds" in foreign.facts else "single"
    if config.data.labels != labels:
        rule = f"must be {labels}, as in the file"
        raise ConfigError(f"{source}: data.labels", rule, config.data.labels)
    document = plain_config(config)
    data = document["data"]
    if classes and data["classes"] is None:
        data["classes"] = exported_value(foreign, "classes")
    for key in ("mean", "std"):
        if normalization and data[key] == "auto":
            data[key] = exported_value(foreign, key) or "auto"
    form = _form(config.data.preprocess)
    if config.data.labels == "multiple":
        form["label_sep"] = config.data.label_sep
    notes = [
        f"data.{key} is {own}; the file's is {written}"
        for key, own in form.items()
        if (written := foreign.facts.get(key, own)) != own
    ]
    return validate_config(document, source), notes


def exported_value(foreign: Foreign, key: str) -> Any:
    """Return a value of this program's metadata that is written as JSON; None if there is none.

    Raises:
        DataError: it is not JSON.
    """
    if EXPORTED not in foreign.facts:
        return None
    try:
        return strict_json.loads(foreign.facts.get(key, "null"))
    except ValueError as error:
        raise DataError(foreign.place, f"{key} beside its network must be JSON") from error


def exported_temperature(foreign: Foreign) -> float:
    """Return the temperature beside arrays; 1 without one.

    Raises:
        DataError: it is none.
    """
    found = exported_value(foreign, "temperature")
    if found is None:
        return 1.0
    least, most = TEMPERATURES
    if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
        rule = f"temperature beside its network must be a number from {least:g} to {most:g}"
        raise DataError(foreign.place, rule, found)
    return found
