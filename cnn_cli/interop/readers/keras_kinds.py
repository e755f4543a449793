"""Keras' layers by kind, each converted to one or several ops."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.readers.arguments import check_arguments
from cnn_cli.interop.readers.keras_arguments import ARGUMENTS, AUGMENTATION, COMMON, TRAINING
from cnn_cli.interop.readers.keras_network import ACTIVATIONS, KerasNetwork
from cnn_cli.nn.types import Array, Shape

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
# Arithmetic between layers, as written by Keras 3 and, through TensorFlow, Keras 2.
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


class KerasKinds(KerasNetwork):
    """Converts Keras layers of all kinds.

    Args:
        is_third: whether Keras 3 wrote the file.
    """

    def __init__(self, path: Path, in_shape: Shape | None, *, is_third: bool) -> None:
        super().__init__(path, in_shape)
        self.is_third = is_third

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
                # A matrix product at each pixel.
                if "kernel" in arrays:
                    arrays = {**arrays, "kernel": arrays["kernel"][None, None]}
                return self._op("conv", name, inputs, POINTWISE, arrays, count=config.get("units"))
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
        """Return the number of output channels of a depthwise convolution."""
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
                depthwise = word == "DepthwiseConv2D"
                return "conv", _convolution(config, None if depthwise else config.get("groups", 1))
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
            case "Cropping2D":
                cut = tuple((-before, -after) for before, after in config["cropping"])
                return "zeropad", {"padding": cut}
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
        """Convert to a depthwise convolution and a 1×1 convolution."""
        facts = _convolution(config, None)
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
        return self._op("conv", name, (found,), POINTWISE, point, count=config["filters"])

    def _affine(self, name: str, inputs: tuple[int, ...], scale: Any, shift: Any) -> int:
        """Convert to a scale and shift per channel."""
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
        """Chain a sum or product of two or more inputs pairwise."""
        found = inputs[0]
        for each in inputs[1:]:
            found = self._op(kind, name, (found, each))
        return found

    def _arithmetic(
        self, word: str, name: str, inputs: tuple[int, ...], arguments: list[Any]
    ) -> int:
        """Convert arithmetic between layers: `2 * x + y`."""
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


def _convolution(config: Mapping[str, Any], groups: int | None) -> dict[str, Any]:
    """Return the facts of a convolution; `groups` is None for as many as there are channels."""
    facts = _window(config["kernel_size"], config["strides"], config["padding"])
    return facts | {"dilation": tuple(config.get("dilation_rate", (1, 1))), "groups": groups}


def _window(kernel_size: Any, stride: Any, padding: str) -> dict[str, Any]:
    return {
        "kernel_size": tuple(kernel_size),
        "stride": tuple(stride),
        "padding": "same" if padding == "same" else (0, 0, 0, 0),
    }


POINTWISE = {**_window((1, 1), (1, 1), "valid"), "dilation": (1, 1), "groups": 1}
"""The facts of a 1×1 convolution."""
