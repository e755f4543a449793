"""Keras' layers as ops: what a network's description says of each, and its arrays in PyTorch's
layouts.

A convolution's kernel is (h, w, in, out) in Keras, a depthwise one's (h, w, in, multiplier), a
dense layer's (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import INPUT, Kind, Module, Op
from cnn_cli.interop.readers.arguments import check_arguments
from cnn_cli.interop.readers.keras_arguments import ARGUMENTS, AUGMENTATION, COMMON, TRAINING
from cnn_cli.interop.readers.windows import window_sizes
from cnn_cli.nn.types import Array, Shape

Stored = Callable[[tuple[str, ...]], Mapping[str, Array]]
"""A layer's arrays by the names of the networks that it stands in and its own: by Keras' names,
or by numbers in the order of `_variables`."""

NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "alpha": "weight",
    "bias": "bias",
}
ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "swish": "silu",
    "silu": "silu",
    "gelu": "gelu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "elu": "elu",
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "softmax": "softmax",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "leaky_relu": "leaky_relu",
}
SAME = {
    "Dropout": "dropout",
    "SpatialDropout2D": "dropout",
    "GaussianDropout": "dropout",
    "GaussianNoise": "dropout",
    "AlphaDropout": "dropout",
    "StochasticDepth": "identity",
    "ActivityRegularization": "identity",
    "GlobalAveragePooling2D": "global_avgpool",
    "Add": "add",
    "Concatenate": "concat",
    "Multiply": "excite",
    "Softmax": "softmax",
}
NETWORKS = ("Functional", "Sequential", "Model")
# Arithmetic between layers, as Keras 3 and, through TensorFlow, Keras 2 write it.
ARITHMETIC = {
    "Add": "add",
    "Multiply": "excite",
    "Subtract": "subtract",
    "Divide": "divide",
    "TrueDivide": "divide",
    "__operators__.add": "add",
    "math.add": "add",
    "math.multiply": "excite",
    "math.subtract": "subtract",
    "math.divide": "divide",
    "math.truediv": "divide",
}
# What changes each number by itself, so that the order of a vector's numbers does not matter.
ALIKE = (*ACTIVATIONS.values(), "dropout", "identity", "scale", "shift", "flatten")


def nested_layers(config: Any) -> Sequence[Mapping[str, Any]]:
    """The layers that a network's `config` lists."""
    found: Sequence[Mapping[str, Any]] = config["layers"] if isinstance(config, Mapping) else config
    return found


class Layers:
    """The ops of a network that is read layer by layer.

    Args:
        path: the file, for messages.
        stored: the arrays of its layers.
        is_third: whether Keras 3 wrote it.
        in_shape: (rows, columns, channels) of an image, where the file leaves them open.
    """

    def __init__(
        self, path: Path, stored: Stored, *, is_third: bool, in_shape: Shape | None
    ) -> None:
        self.path = path
        self.stored = stored
        self.is_third = is_third
        self.ops: list[Op] = []
        self.in_shape = in_shape
        self.said: tuple[int | None, ...] | None = None  # of an image, by the file
        self._flat: dict[int, Shape] = {}  # maps that vectors were, rows and columns first
        self._begun = False

    def network(self, config: Any, entry: int, outer: tuple[str, ...] = ()) -> int:
        """Append a network's layers; the op that its output is.

        Args:
            config: its layers.
            entry: the op that it reads.
            outer: names of the networks that it stands in, its own last.
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

    # What a layer reads.

    def _say_shape(self, config: Mapping[str, Any]) -> None:
        """Keep the shape of an image, as the first layer that says it has it."""
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
        """The ops that a layer reads, and the numbers that are given with them."""
        nodes = layer.get("inbound_nodes")
        if not nodes:  # a Sequential network: each layer reads the one before it
            return (last,), []
        if len(nodes) > 1:
            raise self._refused(name, word, "must be used once", f"{len(nodes)} uses")
        arguments: list[Any] = []
        for part in _arguments(nodes[0]):
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

    def _refused(self, name: str, word: str, rule: str, got: object = None) -> DataError:
        return DataError(self.path, f"layer {name} ({word}) {rule}", got)

    # What it is.

    def _layer(
        self,
        word: str,
        name: str,
        path: tuple[str, ...],
        layer: Mapping[str, Any],
        inputs: tuple[int, ...],
        numbers: list[Any],
    ) -> int:
        """Append a layer, and the activation in it, as ops; the last one."""
        config = layer["config"]
        if (
            word == "TFOpLambda"
            or str(layer.get("module")).startswith("keras.src.ops")
            or (word in ARITHMETIC and numbers)
        ):
            return self._arithmetic(config.get("function", word), name, inputs, numbers)
        word = word.rpartition(">")[2]  # of classes that are registered in a package
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
        """A layer's arrays by Keras' names."""
        found = dict(self.stored(path))
        if word == "LayerScale" and len(found) == 1:  # which older files do not name
            return {"gamma": next(iter(found.values()))}
        if "0" in found:
            names = _variables(word, config)
            return {names[int(key)]: value for key, value in found.items() if int(key) < len(names)}
        return found

    def _ops(  # noqa: PLR0911 - a case a kind
        self,
        word: str,
        name: str,
        inputs: tuple[int, ...],
        config: Mapping[str, Any],
        arrays: dict[str, Array],
    ) -> int:
        match word:
            case "SeparableConv2D":
                return self._separable(name, inputs, config, arrays)
            case "Dense" if len(self._shape(inputs[0]) or ()) == 3 and not self._is_pixel(inputs):
                # A matrix at each pixel.
                if "kernel" in arrays:
                    arrays = {**arrays, "kernel": arrays["kernel"][None, None]}
                facts = {**_window((1, 1), (1, 1), "valid"), "dilation": (1, 1), "groups": 1}
                return self._op("conv", name, inputs, facts, arrays, count=config.get("units"))
            case "Rescaling":
                return self._affine(name, inputs, config["scale"], config.get("offset", 0.0))
            case "Normalization":
                mean, variance = (
                    np.asarray(arrays[key] if config.get(key) is None else config[key], "f8")
                    for key in ("mean", "variance")
                )
                deviation = np.maximum(np.sqrt(variance), 1e-7)
                return self._affine(name, inputs, 1 / deviation, -mean / deviation)
            case "LayerScale":
                if not arrays:
                    raise self._refused(name, word, "must have weights")
                return self._op("affine", name, inputs, {}, arrays)
            case "CustomScaleLayer":
                scaled = self._op("scale", name, inputs[1:], {"factor": config["scale"]})
                return self._op("add", name, (inputs[0], scaled))
            case "Average":
                total = self._merge("add", name, inputs)
                return self._op("scale", name, (total,), {"factor": 1 / len(inputs)})
            case "Add" | "Multiply":
                return self._merge(SAME[word], name, inputs)
            case "GlobalMaxPooling2D" if (shape := self._shape(inputs[0])) is not None:
                facts = _window(shape[:2], shape[:2], "valid")
                return self._op("maxpool", name, inputs, facts)
        kind, facts = self._kind(word, name, config, inputs)
        count = config.get("filters", config.get("units"))
        if word == "DepthwiseConv2D":
            count = self._multiplied(inputs, config)
        return self._op(kind, name, inputs, facts, arrays, count=count, word=word)

    def _multiplied(self, inputs: tuple[int, ...], config: Mapping[str, Any]) -> int | None:
        """The channels that a depthwise convolution makes."""
        shape = self._shape(inputs[0])
        return None if shape is None else shape[-1] * int(config.get("depth_multiplier", 1))

    def _is_pixel(self, inputs: tuple[int, ...]) -> bool:
        shape = self._shape(inputs[0])
        return shape is not None and prod(shape[:-1]) == 1

    def _kind(  # noqa: PLR0911, PLR0912 - a case a kind
        self, word: str, name: str, config: Mapping[str, Any], inputs: tuple[int, ...]
    ) -> tuple[str, dict[str, Any]]:
        match word:
            case "Conv2D" | "DepthwiseConv2D":
                facts = _window(config["kernel_size"], config["strides"], config["padding"])
                depthwise = word == "DepthwiseConv2D"
                facts |= {"dilation": tuple(config.get("dilation_rate", (1, 1)))}
                return "conv", facts | {"groups": None if depthwise else config.get("groups", 1)}
            case "BatchNormalization" | "LayerNormalization":
                kind = "batchnorm" if word == "BatchNormalization" else "layernorm"
                return kind, {"eps": config["epsilon"]}
            case "GroupNormalization":
                groups, shape = config["groups"], self._shape(inputs[0])
                if groups == -1 and shape is not None:
                    groups = shape[-1]
                return "groupnorm", {"num_groups": groups, "eps": config["epsilon"]}
            case "Dense":
                return "linear", {}
            case "MaxPooling2D" | "AveragePooling2D":
                kind = "maxpool" if word == "MaxPooling2D" else "avgpool"
                strides = config["strides"] or config["pool_size"]
                return kind, _window(config["pool_size"], strides, config["padding"])
            case "ZeroPadding2D":
                return "zeropad", {"padding": tuple(map(tuple, config["padding"]))}
            case "UpSampling2D":
                return "upsample", {"scale": tuple(config["size"])}
            case "Activation":
                return self._activation(name, config["activation"])
            case "ReLU":
                top, slope = config.get("max_value"), config.get("negative_slope") or 0.0
                if top is not None and (top != 6 or slope):
                    raise DataError(self.path, f"{name} must be a plain ReLU or a ReLU6", config)
                if slope:
                    return "leaky_relu", {"negative_slope": slope}
                return ("relu" if top is None else "relu6"), {}
            case "LeakyReLU":  # Keras 3's name for it, and Keras 2's
                slope = config.get("negative_slope", config.get("alpha", 0.3))
                return "leaky_relu", {"negative_slope": slope}
            case "ELU":
                return "elu", {"alpha": config.get("alpha", 1.0)}
            case "PReLU":
                return "prelu", {}
            case "Flatten" | "Reshape":
                return self._reshaped(word, name, config, inputs)
            case _ if word in AUGMENTATION:
                return "identity", {}
        return SAME.get(word, word), {}

    def _reshaped(
        self, word: str, name: str, config: Mapping[str, Any], inputs: tuple[int, ...]
    ) -> tuple[str, dict[str, Any]]:
        target = config.get("target_shape", [-1])
        if sum(length != 1 for length in target) > 1:
            rule = f"{name} must make a vector, or a map of one pixel"
            raise DataError(self.path, rule, target)
        if len(target) > 1 and (len(target) != 3 or target[-1] == 1):
            raise self._refused(name, word, "must keep channels last", target)
        return ("identity" if self._is_pixel(inputs) else "flatten"), {}

    def _activation(self, name: str, word: Any) -> tuple[str, dict[str, Any]]:
        if isinstance(word, Mapping):
            config = word.get("config")
            if word.get("class_name") == "function":
                word = config
            elif isinstance(config, Mapping):  # a layer
                layer = {"config": config, "class_name": word.get("class_name")}
                return self._layer_as_activation(name, layer)
        if not isinstance(word, str) or word not in (*ACTIVATIONS, "linear"):
            raise DataError(self.path, f"the activation of {name} is not known", word)
        if word == "linear":
            return "identity", {}
        if word == "hard_sigmoid" and not self.is_third:
            rule = f"the activation of {name} must not be that of Keras before 3, of a slope of 1/5"
            raise DataError(self.path, rule, word)
        facts = {"negative_slope": 0.2} if word == "leaky_relu" else {}
        return ACTIVATIONS[word], facts

    def _layer_as_activation(
        self, name: str, layer: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        word, config = layer["class_name"], layer["config"]
        if word not in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
            raise DataError(self.path, f"the activation of {name} is not known", word)
        given = {key: value for key, value in config.items() if not key.endswith(TRAINING)}
        check_arguments(self.path, name, word, given, {**COMMON, **ARGUMENTS[word]})
        return self._kind(word, name, config, ())

    def _separable(
        self,
        name: str,
        inputs: tuple[int, ...],
        config: Mapping[str, Any],
        arrays: dict[str, Array],
    ) -> int:
        """A depthwise convolution, and one of one pixel."""
        facts = _window(config["kernel_size"], config["strides"], config["padding"])
        facts |= {"dilation": tuple(config.get("dilation_rate", (1, 1))), "groups": None}
        deep = {key: arrays[key] for key in ("depthwise_kernel",) if key in arrays}
        found = self._op(
            "conv",
            f"{name}/depthwise",
            inputs,
            facts,
            deep,
            count=self._multiplied(inputs, config),
            word="DepthwiseConv2D",
        )
        point = {
            key.replace("pointwise_", ""): value
            for key, value in arrays.items()
            if key != "depthwise_kernel"
        }
        facts = {**_window((1, 1), (1, 1), "valid"), "dilation": (1, 1), "groups": 1}
        return self._op("conv", name, (found,), facts, point, count=config["filters"])

    def _affine(self, name: str, inputs: tuple[int, ...], scale: Any, shift: Any) -> int:
        """Channels times numbers, plus others."""
        found = inputs[0]
        for kind, key, weight, given in (
            ("scale", "factor", "weight", scale),
            ("shift", "term", "bias", shift),
        ):
            numbers = np.asarray(given, np.float64).reshape(-1)
            if numbers.size == 1:
                found = self._op(kind, name, (found,), {key: numbers.item()})
            else:
                found = self._append("affine", name, (found,), {}, {weight: numbers}, None)
        return found

    def _merge(self, kind: str, name: str, inputs: tuple[int, ...]) -> int:
        """A sum or a product of two or more, two by two."""
        found = inputs[0]
        for each in inputs[1:]:
            found = self._op(kind, name, (found, each))
        return found

    def _arithmetic(
        self, word: str, name: str, inputs: tuple[int, ...], arguments: list[Any]
    ) -> int:
        """What is written between layers: `2 * x + y`."""
        kind = ARITHMETIC.get(word)
        if kind is None:
            raise DataError(self.path, f"layer {name} is of an unknown kind", word)
        numbers = [each for (each,) in (x for x in arguments if isinstance(x, list))]
        if not numbers and len(inputs) == 2 and kind in ("add", "excite"):
            return self._op(kind, name, inputs)
        if len(inputs) != 1 or len(numbers) != 1 or not isinstance(numbers[0], int | float):
            raise self._refused(name, word, "must read two layers, or one and a number")
        number, first = float(numbers[0]), isinstance(arguments[0], list)
        if kind == "divide" and not first:
            kind, number = "excite", 1 / number
        if kind == "excite":
            return self._op("scale", name, inputs, {"factor": number})
        if kind == "divide":
            raise self._refused(name, word, "must not divide by a layer", number)
        if kind == "subtract":
            if first:
                inputs = (self._op("scale", name, inputs, {"factor": -1.0}),)
            else:
                number = -number
        return self._op("shift", name, inputs, {"term": number})

    # What becomes of it.

    def _shape(self, op: int) -> Shape | None:
        return self.in_shape if op == INPUT else self.ops[op].shape

    def _op(
        self,
        kind: str,
        name: str,
        inputs: tuple[int, ...],
        facts: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
        *,
        count: int | None = None,
        word: str = "",
    ) -> int:
        """Append an op, whose arrays are Keras' own; `count` of its channels, where it says it."""
        found = _torch_arrays(kind, word, arrays or {})
        shapes = [self._shape(each) for each in inputs]
        shape = self._out_shape(name, kind, shapes, facts or {}, count)
        return self._append(kind, name, inputs, facts or {}, found, shape)

    def _append(
        self,
        kind: str,
        name: str,
        inputs: tuple[int, ...],
        facts: Mapping[str, Any],
        arrays: dict[str, Array],
        shape: Shape | None,
    ) -> int:
        if kind == "affine" and shape is None:
            shape = self._shape(inputs[0])
        order = self._order(kind, name, inputs)
        if order is not None and kind == "batchnorm":
            arrays = {
                key: value.reshape(order).transpose(2, 0, 1).reshape(-1)
                for key, value in arrays.items()
            }
        kinds: dict[str, Kind] = {"conv": "conv", "linear": "linear", "batchnorm": "norm"}
        module = None
        if arrays:
            module = Module(name, kinds.get(kind, "affine"), arrays, flattens="hwc")
        self.ops.append(Op(kind, name, inputs, facts, module, shape))
        at = len(self.ops) - 1
        if kind == "flatten" and order is None:
            (source,) = inputs
            before = self._shape(source)
            if before is not None and len(before) == 3 and prod(before[:2]) > 1:
                order = before
        if order is not None and kind != "linear":
            self._flat[at] = order
        return at

    def _order(self, kind: str, name: str, inputs: tuple[int, ...]) -> Shape | None:
        """The map that a vector was, whose numbers come channels last here, and first there."""
        orders = {self._flat.get(each) for each in inputs}
        if orders == {None}:
            return None
        if len(inputs) > 1 or kind not in (*ALIKE, "batchnorm", "linear"):
            rule = f"layer {name} must not read a map that was flattened"
            raise DataError(self.path, rule, kind)
        return orders.pop()

    def _out_shape(  # noqa: PLR0911 - a case a kind
        self,
        name: str,
        kind: str,
        shapes: Sequence[Shape | None],
        facts: Mapping[str, Any],
        count: int | None,
    ) -> Shape | None:
        """What an op makes of an image; None where the image's size is not known."""
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return None
        (shape, *_) = known
        match kind:
            case "conv" | "maxpool" | "avgpool" if len(shape) == 3:
                try:
                    sizes = window_sizes(shape[:2], facts)
                except ValueError as error:
                    raise DataError(self.path, f"layer {name} must fit its input", error) from error
                return (*sizes, shape[-1] if count is None else count)
            case "linear" | "conv" if count is not None:
                return (count,)
            case "zeropad" if len(shape) == 3:
                (top, bottom), (left, right) = facts["padding"]
                return (shape[0] + top + bottom, shape[1] + left + right, shape[2])
            case "upsample" if len(shape) == 3:
                return (shape[0] * facts["scale"][0], shape[1] * facts["scale"][1], shape[2])
            case "global_avgpool":
                return shape[-1:]
            case "flatten":
                return (prod(shape),)
            case "concat":
                return (*max(known, key=len)[:-1], sum(each[-1] for each in known))
            case "add" | "excite":
                return max(known, key=lambda each: (len(each), prod(each)))
        return shape


def _torch_arrays(kind: str, word: str, found: Mapping[str, Array]) -> dict[str, Array]:
    """A layer's arrays under PyTorch's names, in its layouts."""
    arrays = {NAMES.get(key, key): value for key, value in found.items()}
    if kind in ("batchnorm", "layernorm", "groupnorm") and arrays:
        channels = next(iter(arrays.values())).shape
        # Keras leaves them out where they are told not to be trained.
        arrays = {"weight": np.ones(channels), "bias": np.zeros(channels)} | arrays
    if "weight" not in arrays:
        return arrays
    weight = arrays["weight"]
    if word == "DepthwiseConv2D":
        h, w, c, multiplier = weight.shape
        arrays["weight"] = weight.transpose(2, 3, 0, 1).reshape(c * multiplier, 1, h, w)
    elif kind == "conv":
        arrays["weight"] = weight.transpose(3, 2, 0, 1)
    elif kind == "linear":
        arrays["weight"] = weight.T
    elif kind == "prelu":
        arrays["weight"] = weight.reshape(-1)
    return arrays


def _variables(word: str, config: Mapping[str, Any]) -> list[str]:
    """Names of a layer's arrays in the order in which Keras 3 makes them."""
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


def _arguments(node: Any) -> list[Any]:
    """What a layer is called with: names of layers, numbers, and what is given by name.

    Keras 1 and 2 list `[name, node, tensor, {}]`; Keras 3 has mappings of tensors anywhere in
    lists of arguments.
    """
    if isinstance(node, list) and node and all(_is_source(part) for part in node):
        return [found for source in node for found in _source(source)]
    if isinstance(node, list) and _is_source(node):
        return _source(node)
    if isinstance(node, dict) and "args" in node:
        given = [found for part in node["args"] for found in _tensors(part)]
        kwargs = dict(node.get("kwargs") or {})
        return [*given, kwargs]
    raise ValueError("inbound_nodes of a form that is not known")


def _source(source: list[Any]) -> list[Any]:
    """The layer of Keras 2's form, and what stands beside it: `y` of arithmetic."""
    given = dict(source[3]) if len(source) > 3 else {}
    found = [source[0]]
    if "y" in given:
        other = given.pop("y")
        found.append(other[0] if _is_source(other) else other)
    return [*found, given]


def _tensors(part: Any) -> list[Any]:
    if isinstance(part, list):
        return [found for each in part for found in _tensors(each)]
    if isinstance(part, dict) and part.get("class_name") == "__keras_tensor__":
        return [part["config"]["keras_history"][0]]
    if isinstance(part, int | float) and not isinstance(part, bool):
        return [part]
    raise ValueError("an argument of a layer that is not known")


def _is_source(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 3 and isinstance(part[0], str)


def _window(kernel_size: Any, stride: Any, padding: str) -> dict[str, Any]:
    return {
        "kernel_size": tuple(kernel_size),
        "stride": tuple(stride),
        "padding": "same" if padding == "same" else (0, 0, 0, 0),
    }
