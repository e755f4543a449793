"""Read a Keras network layer by layer, from its description and its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_cli.errors import DataError
from cnn_cli.interop.readers.arguments import check_arguments
from cnn_cli.interop.readers.keras_arguments import ARGUMENTS, COMMON, TRAINING
from cnn_cli.interop.readers.keras_calls import call_arguments
from cnn_cli.interop.readers.keras_kinds import ARITHMETIC, KerasKinds
from cnn_cli.nn.types import Array, Shape

Stored = Callable[[tuple[str, ...]], Mapping[str, Array]]
"""A layer's arrays by its path (names of enclosing networks and its own): by Keras' names, or by
number in the order of `_variables`.
"""

NETWORKS = ("Functional", "Sequential", "Model")


def nested_layers(config: Any) -> Sequence[Mapping[str, Any]]:
    """Return the layers in a network's `config`."""
    found: Sequence[Mapping[str, Any]] = config["layers"] if isinstance(config, Mapping) else config
    return found


class KerasLayers(KerasKinds):
    """The ops of a network, read layer by layer.

    Args:
        path: the file, for messages.
        stored: the arrays of its layers.
        is_third: whether Keras 3 wrote it.
        in_shape: (rows, columns, channels) of an image, if the file does not give them.
    """

    def __init__(
        self, path: Path, stored: Stored, *, is_third: bool, in_shape: Shape | None
    ) -> None:
        super().__init__(path, in_shape, is_third=is_third)
        self.stored = stored
        self.said: tuple[int | None, ...] | None = None  # of an image, as given in the file
        self._begun = False

    def network(self, config: Any, entry: int, outer: tuple[str, ...] = ()) -> int:
        """Append a network's layers; return the op of its output.

        Args:
            config: its layers.
            entry: the op that it reads.
            outer: names of the enclosing networks, its own last.
        """
        tensors: dict[str, int] = {}
        last = entry
        entries: list[str] = []
        for layer in nested_layers(config):
            kind, own = layer["class_name"], layer["config"]
            name = layer.get("name") or own["name"]
            if kind == "InputLayer":
                entries.append(name)
                self._say_shape(own)
                tensors[name] = last = entry
                continue
            if not self._begun:
                self._say_shape(own)
            sources, numbers = self._inputs(layer, name, kind, tensors, last)
            path = (*outer, name)
            if kind in NETWORKS:
                if len(sources) != 1 or numbers:
                    raise self._refused(name, kind, "must read one layer", len(sources))
                last = self.network(own, sources[0], path)
            else:
                last = self._layer(kind, "/".join(path), path, layer, sources, numbers)
            tensors[name] = last
        if len(entries) > 1:
            got = f"{len(entries)}: {', '.join(entries)}"
            raise DataError(self.path, "must have one input", got)
        ends = config.get("output_layers") if isinstance(config, Mapping) else None
        if not ends:  # a Sequential network
            return last
        ends = [ends] if isinstance(ends[0], str) else ends
        if len(ends) > 1:
            got = f"{len(ends)}: {', '.join(each[0] for each in ends)}"
            raise DataError(self.path, "must have one output", got)
        return tensors[ends[0][0]]

    # Inputs.

    def _say_shape(self, config: Mapping[str, Any]) -> None:
        """Store the shape of an image from the first layer that gives it."""
        self._begun = True
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        if self.said is not None or not isinstance(shape, list) or len(shape) != 4:
            return
        self.said = tuple(shape[1:])
        if self.in_shape is not None:
            pairs = zip(self.said, self.in_shape, strict=True)
            self.in_shape = tuple(given if said is None else said for said, given in pairs)
        elif None not in self.said:
            self.in_shape = tuple(int(each) for each in self.said if each is not None)

    def _inputs(
        self,
        layer: Mapping[str, Any],
        name: str,
        word: str,
        tensors: Mapping[str, int],
        last: int,
    ) -> tuple[tuple[int, ...], list[Any]]:
        """Return the ops that a layer reads, and the numbers passed with them."""
        nodes = layer.get("inbound_nodes")
        if not nodes:  # a Sequential network: each layer reads the previous one
            return (last,), []
        if len(nodes) > 1:
            raise self._refused(name, word, "must be used once", f"{len(nodes)} uses")
        arguments: list[Any] = []
        for part in call_arguments(nodes[0]):
            if isinstance(part, str):
                arguments.append(tensors[part])
            elif isinstance(part, dict):
                for key, value in part.items():
                    if key == "training" and value:
                        raise self._refused(name, word, "must not be in training", value)
                    if key not in ("training", "mask", "name") and value is not None:
                        rule = "is called with an argument that is not known"
                        raise self._refused(name, word, rule, key)
            else:
                arguments.append([part])
        sources = tuple(each for each in arguments if isinstance(each, int))
        return sources, [] if len(sources) == len(arguments) else arguments

    # Layers.

    def _layer(
        self,
        word: str,
        name: str,
        path: tuple[str, ...],
        layer: Mapping[str, Any],
        inputs: tuple[int, ...],
        numbers: list[Any],
    ) -> int:
        """Append a layer and its activation as ops; return the last one."""
        config = layer["config"]
        if (
            word == "TFOpLambda"
            or str(layer.get("module")).startswith("keras.src.ops")
            or (word in ARITHMETIC and numbers)
        ):
            return self._arithmetic(config.get("function", word), name, inputs, numbers)
        word = word.rpartition(">")[2]  # for classes registered in a package
        if word not in ARGUMENTS:
            raise DataError(self.path, f"layer {name} is of an unknown kind", word)
        if numbers or not inputs:
            raise self._refused(name, word, "must read layers alone", numbers or "nothing")
        given = {key: value for key, value in config.items() if not key.endswith(TRAINING)}
        check_arguments(self.path, name, word, given, {**COMMON, **ARGUMENTS[word]})
        self._check_axis(name, word, config, inputs[0])
        arrays = self._arrays(path, word, config)
        found = self._ops(word, name, inputs, config, arrays)
        activation = config.get("activation", "linear")
        if word != "Activation" and activation not in (None, "linear"):
            kind, facts = self._activation(name, activation)
            found = self._op(kind, name, (found,), facts)
        return found

    def _check_axis(self, name: str, word: str, config: Mapping[str, Any], source: int) -> None:
        axis, shape = config.get("axis", -1), self._shape(source)
        (axis,) = axis if isinstance(axis, list) else (axis,)
        # A mean is a vector here, whether or not Keras keeps its rows and columns.
        if shape is not None and axis not in (-1, len(shape), 3 if len(shape) == 1 else -1):
            raise self._refused(name, word, "must be of the last axis, channels", axis)

    def _arrays(
        self, path: tuple[str, ...], word: str, config: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return a layer's arrays by Keras' names."""
        found = dict(self.stored(path))
        if word == "LayerScale" and len(found) == 1:  # unnamed in older files
            return {"gamma": next(iter(found.values()))}
        if "0" in found:
            names = _variables(word, config)
            return {names[int(key)]: value for key, value in found.items() if int(key) < len(names)}
        return found


def _variables(word: str, config: Mapping[str, Any]) -> list[str]:
    """Return the names of a layer's arrays in the order in which Keras 3 creates them."""
    bias = ["bias"] if config.get("use_bias", True) else []
    match word:
        case "SeparableConv2D":
            return ["depthwise_kernel", "pointwise_kernel", *bias]
        case "BatchNormalization" | "LayerNormalization" | "GroupNormalization":
            own = [
                name
                for key, name in (("scale", "gamma"), ("center", "beta"))
                if config.get(key, True)
            ]
            return [*own, "moving_mean", "moving_variance"]
        case "Normalization":
            return ["mean", "variance", "count"]
        case "PReLU":
            return ["alpha"]
    return ["kernel", *bias]
