"""The metadata of a checkpoint, and the checks on which evaluation and prediction rely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from cnn_cli import strict_json
from cnn_cli.data.depth import Depth
from cnn_cli.data.preprocess import ResizeMode
from cnn_cli.errors import DataError, listed
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.types import Array

if TYPE_CHECKING:
    from cnn_cli.data.split import Rule

FORMAT_VERSION = 1
MOST_THREADS = 4096
SEVERAL = "several_labels"  # key of several labels, see `inference.classifier`
TEMPERATURES = (0.01, 100.0)  # smallest and largest


def check_meta(array: Array, place: str) -> dict[str, Any]:
    """Decode `meta` and check the parts that every command reads.

    These are `format_version`; `config`, a mapping; `classes`, two or more different names;
    `preprocess`, with height, width, channels and resize_mode; `mean` and `std`, one number per
    channel. Code that builds a network from the config checks it. If present, `versions`,
    `threads`, `backend`, `bad_files`, `rollback`, `data`, `split_rule`, `receipt`, `calibration`,
    `several_labels` and the config's `augment.tta` are checked too.

    Args:
        array: uint8, one axis: UTF-8 JSON.
        place: the checkpoint's name.

    Raises:
        DataError: it is not such a document, or has a newer format.
    """
    if array.dtype != np.uint8 or array.ndim != 1:
        raise DataError(place, "meta must be text", f"{array.dtype} of shape {array.shape}")
    try:
        meta = strict_json.loads(array.tobytes().decode("utf-8"))
    except strict_json.DeepNestingError as error:
        rule = f"meta must be at most {strict_json.MOST_LEVELS} levels deep"
        raise DataError(place, rule, "deeper nesting") from error
    except ValueError as error:
        raise DataError(place, "meta must be a JSON document") from error
    if not isinstance(meta, dict):
        raise DataError(place, "meta must be a mapping", type(meta).__name__)
    version = meta.get("format_version")
    if version is None or not _is_whole(version):
        raise DataError(place, "meta.format_version must be a whole number above 0")
    if version > FORMAT_VERSION:
        rule = f"was written by a newer version of cnn; this one reads formats to {FORMAT_VERSION}"
        raise DataError(place, rule, f"format {version}")
    for rule, holds in _rules(meta):
        if not holds:
            raise DataError(place, f"meta.{rule}")
    return meta


def split_rule(meta: Mapping[str, Any]) -> Rule:
    """Return the rule that chose a run's validation images, see `data.split`.

    Args:
        meta: metadata of its checkpoint, in which older versions did not write it; empty for a new
            run.
    """
    rule: Rule = meta.get("split_rule", "fractions") if meta else "ranks"
    return rule


def stored_tta(meta: Mapping[str, Any]) -> str | None:
    """Return the `augment.tta` of a checkpoint's config, which older versions did not write."""
    augment = meta["config"].get("augment")
    return augment.get("tta") if isinstance(augment, dict) else None


def are_thresholds(values: Any, classes: int) -> bool:
    """Whether values are a list of a threshold from 0 to 1 per class."""
    return (
        isinstance(values, list)
        and len(values) == classes
        and all(_is_number(each) and 0 <= each <= 1 for each in values)
    )


def _rules(meta: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield each rule and whether it holds; later rules rely on earlier ones."""
    yield from _rules_of_config(meta)

    classes = meta.get("classes")
    rule = "classes must be a list of two or more different names"
    yield rule, isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    yield rule, len(set(meta["classes"])) == len(meta["classes"]) >= 2 and "" not in meta["classes"]

    yield from _rules_of_preprocessing(meta)

    versions = meta.get("versions", {})
    rule = "versions must be a mapping of names to texts"
    yield rule, isinstance(versions, dict)
    yield rule, all(isinstance(text, str) for text in versions.values())
    threads = meta.get("threads", 1)
    rule = f"threads must be a whole number from 1 to {MOST_THREADS}"
    yield rule, _is_whole(threads) and threads <= MOST_THREADS
    backends = get_args(Backend)
    yield f"backend must be {' or '.join(backends)}", meta.get("backend", "numpy") in backends
    bad = meta.get("bad_files", {})
    rule = "bad_files must be a mapping of paths to what is wrong with them"
    yield rule, isinstance(bad, dict) and all(isinstance(text, str) for text in bad.values())
    yield "rollback must be a mapping", isinstance(meta.get("rollback", {}), dict)
    data = meta.get("data", {})
    rule = "data must be a mapping, its classes a list of names"
    yield rule, isinstance(data, dict) and isinstance(data.get("classes", []), list)
    yield rule, all(isinstance(name, str) for name in data.get("classes", []))
    rule = "split_rule must be fractions or ranks"
    yield rule, meta.get("split_rule", "ranks") in ("fractions", "ranks")
    receipt = meta.get("receipt", {})
    rule = "receipt must be a mapping of names to texts"
    yield rule, isinstance(receipt, dict) and all(isinstance(t, str) for t in receipt.values())
    calibration = meta.get("calibration", {"temperature": 1.0})
    least, most = TEMPERATURES
    rule = f"calibration must be a mapping with a temperature from {least:g} to {most:g}"
    yield rule, isinstance(calibration, dict) and _is_number(calibration.get("temperature"))
    yield rule, least <= calibration["temperature"] <= most
    if SEVERAL in meta:
        yield from _rules_of_labels(meta[SEVERAL], len(meta["classes"]))


def _rules_of_config(meta: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    yield "config must be a mapping", isinstance(meta.get("config"), dict)
    tta = stored_tta(meta)
    if tta is not None:
        from cnn_cli.data.views import TTA  # prediction with one view does without

        rule = f"config.augment.tta must be {listed(['none', *TTA], last=' or ')}"
        yield rule, tta in TTA


def _rules_of_preprocessing(meta: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    yield "preprocess must be a mapping", isinstance(meta.get("preprocess"), dict)
    preprocess = meta["preprocess"]
    keys = ("height", "width", "channels", "resize_mode")
    # `depth` was added later.
    yield f"preprocess must have the keys {', '.join(keys)}", {*preprocess} - {"depth"} == {*keys}
    for key in ("height", "width"):
        yield f"preprocess.{key} must be a whole number above 0", _is_whole(preprocess[key])
    channels = preprocess["channels"]
    yield "preprocess.channels must be a whole number above 0", _is_whole(channels)
    depth = preprocess.get("depth", 8)
    yield "preprocess.depth must be 8, 16 or float", _is_depth(depth)
    modes = get_args(ResizeMode)
    rule = f"preprocess.resize_mode must be {listed(modes, last=' or ')}"
    yield rule, preprocess["resize_mode"] in modes

    for key in ("mean", "std"):
        values = meta.get(key)
        rule = f"{key} must be a list of {channels} finite numbers"
        yield rule, isinstance(values, list) and len(values) == channels
        yield rule, all(_is_number(value) for value in meta[key])
    yield "std must be above 0", all(value > 0 for value in meta["std"])


def _rules_of_labels(labels: Any, classes: int) -> Iterator[tuple[str, bool]]:
    rule = f"{SEVERAL} must be a mapping with a separator and a threshold from 0 to 1 a class"
    yield rule, isinstance(labels, dict)
    separator, thresholds = labels.get("separator"), labels.get("thresholds")
    yield rule, isinstance(separator, str) and separator != ""
    yield rule, are_thresholds(thresholds, classes)


def _is_depth(value: Any) -> bool:
    return any(value == each and type(value) is type(each) for each in get_args(Depth))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _is_number(value: Any) -> bool:
    """Whether a value is a number within the range of float32."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e38  # false for NaN
