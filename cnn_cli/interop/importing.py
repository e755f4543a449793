"""Convert a file of weights and a config to a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnn_cli import __version__
from cnn_cli.config import Config, load_config, plain_config, validate_config
from cnn_cli.config.load import lay_over
from cnn_cli.config.network import build_graph
from cnn_cli.data.depth import FULL_SCALE
from cnn_cli.errors import ConfigError, DataError, UsageError, listed
from cnn_cli.inference.calibration import META as CALIBRATION
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.several_labels import HALF
from cnn_cli.interop.assemble import Standardization, assemble, swap_colors
from cnn_cli.interop.derive.network import TWO_SCORES, Derived, derive
from cnn_cli.interop.exported import (
    EXPORTED,
    exported_data,
    exported_temperature,
    exported_value,
    with_exported,
)
from cnn_cli.interop.foreign import INPUT, PASSED_OVER, Activation, Foreign, Module, Which
from cnn_cli.interop.match_names import layers_with_arrays, match_map, match_names
from cnn_cli.interop.match_structure import match_structure
from cnn_cli.interop.name_files import read_classes, read_map, told_apart
from cnn_cli.interop.onnx_agreement import compare_with_onnxruntime
from cnn_cli.interop.reading import read_foreign
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.types import Shape
from cnn_cli.runs.checkpoint import Checkpoint, save_checkpoint
from cnn_cli.runs.meta import SEVERAL, are_thresholds, split_rule
from cnn_cli.runs.stored_network import network_facts
from cnn_cli.structs import as_dict

NUMBERED = "classes are numbers: no --classes FILE names them"
UNCOMPARED = "scores not compared with Keras', which cnn does not run"
# Arrays of a training beside the network: auxiliary heads, losses, counters.
EXTRA = (
    *("aux1.*", "aux2.*", "AuxLogits.*", "criterion.*", "loss.*"),
    *("*.total_ops", "*.total_params", "*._extra_state", "*.n_averaged", ".n_averaged"),
)
LABELS: dict[Activation, str] = {"softmax": "single", "sigmoid": "multiple"}  # `data.labels`


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of the command line besides file and config.

    Attributes:
        map_file: maps the network's layers to the file's.
        classes_file: class names, in the order of the scores.
        mean, std: one number per channel; by default the config's.
        value_range: pixel value of white to which mean and std refer; None is 1, or the range of a
            network that normalizes pixels itself.
        channel_order: color order of the weights, mean and std.
        ignore: patterns of array names to ignore, such as `aux*`.
        which: which weights of a training checkpoint.
        standardization: for the weights of convolutions.
    """

    map_file: Path | None = None
    classes_file: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: float | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    ignore: tuple[str, ...] = ()
    which: Which | None = None
    standardization: Standardization | None = None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import.

    Attributes:
        matched_by: the rule that matched the layers.
        pairs: the file's layer by the network's.
        scaled: mean and std refer to pixels scaled to 0..1, as for every `data.depth` but `float`.
        notes: conversions that keep the function.
    """

    output: Path
    layers: int
    parameters: int
    classes: int
    matched_by: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pairs: dict[str, str]
    scaled: bool
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"output": str(self.output)}


def import_weights(
    weights: Path,
    config_file: str | None,
    overrides: list[str],
    output: Path,
    options: ImportOptions,
) -> ImportReport:
    """Write a checkpoint of a network with a file's weights.

    Args:
        weights: the file.
        config_file: the config with the network; None to derive it from the file.
        overrides: ``KEY=VALUE`` for the config.
        output: the checkpoint.
        options: other options of the command line.

    Raises:
        CnnError: something does not fit; nothing is written.
    """
    given = None if config_file is None else load_config(config_file, overrides)
    foreign = read_foreign(weights, _in_shape(given, overrides), options.which)
    _refuse_ignored(config_file, overrides, options, foreign)
    foreign, ignored = _without_extra(foreign, options.ignore)
    derived = None
    if given is None or config_file is None:
        config_file = str(weights)
        derived = derive(foreign)
        config = lay_over(_document(foreign, derived), config_file, overrides)
        classes, notes = _derived_classes(config, derived, options)
    else:
        config, remarks = with_exported(
            given,
            config_file,
            foreign,
            classes=options.classes_file is None,
            normalization=options.value_range is None and options.channel_order == "rgb",
        )
        classes, notes = _classes(config, config_file, foreign, options)
        notes += remarks
    _check_labels(config, config_file, foreign)
    _check_end(foreign)
    if derived is not None:
        notes += _other_size(config, foreign)
    several, told = _several_labels(config, foreign, len(classes))
    config = _with_preprocessing(config, config_file, options, classes, foreign)
    graph = _graph(config, len(classes), config_file)
    if derived is None:
        pairs, eps, matched_by = _match(graph, foreign, options)
    else:
        pairs, eps, matched_by = _match_derived(graph, derived, config_file)
        foreign = replace(foreign, modules=tuple(derived.modules))
    arrays, changes = assemble(graph, foreign, pairs, eps, options.standardization)
    params = Parameters(graph, config.train.dtype)
    params.load(arrays, str(weights))
    if not np.isfinite(params.flat).all():
        raise DataError(weights, f"arrays must be within the range of {config.train.dtype}")
    if weights.suffix.lower() == ".onnx":
        changes.append(compare_with_onnxruntime(weights, foreign, graph, params))
    elif derived is not None:
        changes.append(UNCOMPARED)
    if options.channel_order == "bgr":
        swap_colors(graph, arrays, config_file)
        params.load(arrays, str(weights))
        changes.append("first convolution turned from blue, green, red to red, green, blue")
    mean, std = _numbers_of(config)
    source = {"file": weights.name, "matched_by": matched_by, "notes": changes}
    checkpoint = _checkpoint(config, params, classes, mean, std, several, source)
    if (temperature := exported_temperature(foreign)) != 1:
        checkpoint.meta[CALIBRATION] = {"temperature": temperature}
        changes.append(f"temperature {temperature:g}, which divides the scores")
    save_checkpoint(output, checkpoint)
    return ImportReport(
        output=output,
        layers=len(pairs),
        parameters=params.count,
        classes=len(classes),
        matched_by=matched_by,
        mean=mean,
        std=std,
        pairs={graph.nodes[index].name: module.name for index, module in sorted(pairs.items())},
        scaled=FULL_SCALE[config.data.depth] != 1,
        notes=[*notes, *told, *foreign.notes, *ignored, *changes],
    )


def _refuse_ignored(
    config_file: str | None, overrides: list[str], options: ImportOptions, foreign: Foreign
) -> None:
    """Refuse options and keys that the import of this file would ignore.

    Raises:
        UsageError: there is one.
    """
    if config_file is None and options.map_file is not None:
        raise UsageError("--map", "goes with --config CONFIG", options.map_file)
    if foreign.normalization is None:
        return
    for key, option in (("mean", options.mean), ("std", options.std)):
        if option is None and any(each.startswith(f"data.{key}=") for each in overrides):
            rule = f"the file's network normalizes images itself; give --{key} to do so before it"
            raise UsageError(f"data.{key}", rule)


def _without_extra(foreign: Foreign, patterns: tuple[str, ...]) -> tuple[Foreign, list[str]]:
    """Return the content without ignored arrays, and notes about them.

    Raises:
        UsageError: a pattern matches nothing.
    """
    if foreign.ops is not None:
        if patterns:
            raise UsageError("--ignore", "goes with a file of arrays alone", patterns[0])
        return foreign, []
    names = [f"{module.name}.{key}" for module in foreign.modules for key in module.arrays]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError("--ignore", f"must match an array of {foreign.place}", pattern)
    left, gone = [], []
    for module in foreign.modules:
        arrays = {}
        for key, array in module.arrays.items():
            name = f"{module.name}.{key}"
            plain = name.removeprefix("module.")  # prefix from training on several GPUs
            if any(fnmatchcase(plain, pattern) for pattern in EXTRA) or any(
                fnmatchcase(name, pattern) for pattern in patterns
            ):
                gone.append(name)
            else:
                arrays[key] = array
        if arrays:
            left.append(replace(module, arrays=arrays))
    if not gone:
        return foreign, []
    return replace(foreign, modules=tuple(left)), [f"arrays left out: {listed(gone, 3)}"]


def _in_shape(config: Config | None, overrides: list[str]) -> Shape | None:
    """Return the image shape in a config or on the command line, for files without one."""
    if config is None:
        data = [override for override in overrides if override.startswith("data.")]
        if not any(override.startswith("data.image_size=") for override in data):
            return None
        plain = {"model": {"layers": ["flatten", {"linear": "classes"}]}}
        config = lay_over(plain, "import", data)
    return config.data.preprocess.shape


def _document(foreign: Foreign, derived: Derived) -> dict[str, Any]:
    """Return the config of a derived network as plain values.

    Metadata written by `cnn export` is used: classes, mean, std and so on.
    """
    if foreign.in_shape is None:
        raise ValueError(f"{foreign.place} has no shape")
    height, width, channels = foreign.in_shape
    data: dict[str, Any] = {"image_size": [height, width], "channels": channels}
    if foreign.activation is not None:
        data["labels"] = LABELS[foreign.activation]
    data |= exported_data(foreign)
    data = {key: value for key, value in data.items() if value is not None}
    return {"data": data, "model": {"layers": derived.layers}}


def _derived_classes(
    config: Config, derived: Derived, options: ImportOptions
) -> tuple[list[str], list[str]]:
    """Return the class names for a derived network, and notes about them."""
    if options.classes_file is None and config.data.classes is None:
        return [str(i) for i in range(derived.classes)], [NUMBERED]
    names, notes = _named_classes(config, options)
    if len(names) != derived.classes:
        place = options.classes_file or "data.classes"
        raise DataError(
            place, f"must be {derived.classes} names, as the file has scores", len(names)
        )
    return names, notes


def _graph(config: Config, classes: int, source: str) -> Graph:
    return build_graph(config.model, config.data.preprocess.shape, classes, source)


Matched = tuple[dict[int, Module], Mapping[int, float], str]
"""The file's module by node, the eps of the file's batchnorms by node, and the matching rule."""


def _match_derived(graph: Graph, derived: Derived, source: str) -> Matched:
    """Match a derived network, whose layers are the file's, in the same order.

    Args:
        source: the file, for messages.

    Raises:
        ConfigError: overrides changed the layers.
    """
    nodes = layers_with_arrays(graph)
    if len(nodes) != len(derived.modules):
        rule = "must leave the layers as the file has them; give --config CONFIG for others"
        raise ConfigError(f"{source}: model", rule)
    pairs = {node.index: each for node, each in zip(nodes, derived.modules, strict=True)}
    return pairs, {}, "the file's own network"


def _match(graph: Graph, foreign: Foreign, options: ImportOptions) -> Matched:
    """Match the layers of a config: by `--map`, by the file's network, or by the arrays' names."""
    if options.map_file is not None:
        mapping = read_map(options.map_file)
        pairs = match_map(graph, foreign, mapping, str(options.map_file))
        by_module = {
            id(op.module): float(op.facts["eps"])
            for op in foreign.ops or ()
            if op.module is not None and "eps" in op.facts
        }
        eps = {
            node: by_module[id(module)] for node, module in pairs.items() if id(module) in by_module
        }
        return pairs, eps, str(options.map_file)
    if foreign.ops is not None:
        return *match_structure(graph, foreign), "the network's structure"
    pairs, matched_by = match_names(graph, foreign)
    return pairs, {}, matched_by


def _classes(
    config: Config, source: str, foreign: Foreign, options: ImportOptions
) -> tuple[list[str], list[str]]:
    """Return the class names, and notes about their source."""
    if options.classes_file is not None or config.data.classes is not None:
        return _named_classes(config, options)
    if not any("classes" in layer.arguments().values() for layer in config.model.layers):
        rule = "is required without a layer `linear: classes`; or give --classes FILE"
        raise ConfigError(f"{source}: data.classes", rule)
    # The matching does not depend on shapes, so any number of classes works here.
    graph = _graph(config, 2, source)
    pairs, _, _ = _match(graph, foreign, options)
    last = max(index for index in pairs if graph.nodes[index].layer.kind in ("linear", "conv"))
    count = pairs[last].arrays["weight"].shape[0]
    if count < 2:
        raise DataError(foreign.place, TWO_SCORES, count)
    return [str(i) for i in range(count)], [NUMBERED]


def _named_classes(config: Config, options: ImportOptions) -> tuple[list[str], list[str]]:
    """Return the class names of --classes, or else of the config."""
    if options.classes_file is None:
        return list(config.data.classes or ()), []
    names = read_classes(options.classes_file)
    distinct = told_apart(names)
    changed = sum(a != b for a, b in zip(names, distinct, strict=True))
    note = f"classes of the same name, told apart by their numbers: {changed}"
    return distinct, [note] if changed else []


def _with_preprocessing(
    config: Config, source: str, options: ImportOptions, classes: list[str], foreign: Foreign
) -> Config:
    """Return the config with the weights' mean and std converted to this program's form: 0..1,
    RGB.
    """
    document = plain_config(config)
    data = document["data"]
    own = foreign.normalization
    # A network that `cnn export` wrote for normalized images may begin with a scale, too.
    normalized = EXPORTED in foreign.facts and not foreign.channels_last
    found = {}
    for key, option, neutral in (("mean", options.mean, 0.0), ("std", options.std, 1.0)):
        values = data[key] if option is None else list(option)
        if own is not None and option is None and not normalized:
            values = [neutral]  # the file's network does it itself
        if values == "auto":
            rule = f"must be what the weights were trained with; give --{key}"
            raise ConfigError(f"{source}: data.{key}", rule, "auto")
        if len(values) == 1:
            values = values * config.data.channels
        found[key] = np.array(values)
    full = FULL_SCALE[config.data.depth]
    if full == 1 and options.value_range is not None:
        rule = "goes with data.depth 8 or 16, whose values end at a white"
        raise UsageError("--value-range", rule, options.value_range)
    white = options.value_range or 1.0
    if own is not None and len(found["mean"]) == len(found["std"]):
        # ((v - mean)/std) scale + shift, for pixels v.
        found["std"] = found["std"] / own.scale
        found["mean"] = found["mean"] - own.shift * found["std"]
        # A large std means that pixels are whole numbers.
        guess = full if found["std"].max() > 10 and not normalized else 1.0
        white = 1.0 if full == 1 else options.value_range or own.white or guess
    for key, numbers in found.items():
        values = (numbers[::-1] if options.channel_order == "bgr" else numbers).tolist()
        data[key] = [value / white for value in values]
    if options.classes_file is not None:
        data["classes"] = classes
    return validate_config(document, source)


def _check_labels(config: Config, source: str, foreign: Foreign) -> None:
    """Check that `data.labels` fits the activation after the file's scores, if there is one."""
    kind = foreign.activation
    if kind is not None and config.data.labels != LABELS[kind]:
        rule = f"must be {LABELS[kind]}, because the file's network ends in a {kind}"
        raise ConfigError(f"{source}: data.labels", rule, config.data.labels)


def _other_size(config: Config, foreign: Foreign) -> list[str]:
    """Return a note about images of another size than the file's: with strides, padding `same`
    depends on it.
    """
    pads = [
        op.name
        for op in foreign.ops or ()
        if op.facts.get("padding") == "same" and max(op.facts.get("stride", (1,))) > 1
    ]
    if foreign.in_shape is None or config.data.image_size == foreign.in_shape[:2] or not pads:
        return []
    size = shape_text(foreign.in_shape[:2])
    return [f"padding same is that of images of {size}, the file's, such as in {pads[0]}"]


def _check_end(foreign: Foreign) -> None:
    """Refuse a network that flattens a map with channels last to its scores, in another order than
    this program does.

    Raises:
        DataError: the file's network ends so.
    """
    ops = foreign.ops or ()
    at = len(ops) - 1
    while foreign.channels_last and at != INPUT and ops[at].kind in PASSED_OVER:
        (before,) = ops[at].inputs
        shape = foreign.in_shape if before == INPUT else ops[before].shape
        if ops[at].kind == "flatten" and shape is not None and prod(shape[:-1]) > 1:
            raise DataError(foreign.place, TWO_SCORES, shape_text(shape))
        at = before


def _several_labels(
    config: Config, foreign: Foreign, classes: int
) -> tuple[SeveralLabels | None, list[str]]:
    """Return the thresholds that `cnn export` wrote, or else of 1/2, and notes about them; None for
    single labels.
    """
    if config.data.labels == "single":
        return None, []
    thresholds = exported_value(foreign, "thresholds")
    if thresholds is None:
        thresholds = [HALF] * classes
    if not are_thresholds(thresholds, classes):
        rule = "thresholds beside its network must be a number from 0 to 1 per class"
        raise DataError(foreign.place, rule, thresholds)
    least, most = min(thresholds), max(thresholds)
    text = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    note = f"several labels per image, thresholds {text}"
    return SeveralLabels(config.data.label_sep, tuple(thresholds)), [note]


def _numbers_of(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = config.data.mean, config.data.std
    if mean == "auto" or std == "auto":
        raise ValueError("mean and std of an import are numbers")
    return tuple(mean), tuple(std)


def _checkpoint(
    config: Config,
    params: Parameters,
    classes: list[str],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    several: SeveralLabels | None,
    source: dict[str, Any],
) -> Checkpoint:
    meta = {
        "program_version": __version__,
        "config": plain_config(config),
        "classes": classes,
        "preprocess": as_dict(config.data.preprocess),
        "mean": list(mean),
        "std": list(std),
        "epoch": 0,
        "step": 0,
        "split_rule": split_rule({}),
        "imported": source,
        **network_facts(params.graph, config.train.dtype),
    }
    if several is not None:
        meta[SEVERAL] = several.as_meta()
    return Checkpoint(meta, {"model": params.named() | params.named_buffers()})
