"""Keras networks: `model.json` with its shards, as for TensorFlow.js, and `.h5` files.

Both say how the layers are connected, and that is what layers are matched by. Arrays are turned to
PyTorch's layouts: a convolution's kernel is (h, w, in, out) here, a depthwise one's (h, w, in,
multiplier), a dense layer's (in, out).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli import strict_json
from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.interop.foreign import INPUT, Foreign, Kind, Module, Op
from cnn_cli.interop.limits import Budget, not_read
from cnn_cli.interop.readers.arguments import IDLE, READ, Arguments, Only, Table, check_arguments
from cnn_cli.nn.types import Array
from cnn_cli.text_files import read_text

MOST_JSON = 10_000_000  # bytes of a network's description

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
    "GaussianNoise": "dropout",
    "Flatten": "flatten",
    "GlobalAveragePooling2D": "global_avgpool",
    "Add": "add",
    "Concatenate": "concat",
    "Multiply": "excite",
    "Softmax": "softmax",
}
# What every layer has, whatever it does. Initializers, regularizers and constraints belong here.
COMMON: Arguments = {
    "name": READ,
    "trainable": IDLE,
    "dtype": IDLE,
    "batch_input_shape": IDLE,
    "batch_shape": IDLE,
    "input_dtype": IDLE,
    "build_input_shape": IDLE,
    "synchronized": IDLE,
    "quantization_config": Only(None),
    "data_format": Only("channels_last", None),
}
TRAINING = ("_initializer", "_regularizer", "_constraint", "_trainable")
_WINDOW: Arguments = {"padding": READ, "strides": READ}
_CONV: Arguments = {
    **_WINDOW,
    "kernel_size": READ,
    "dilation_rate": READ,
    "activation": READ,
    "use_bias": READ,
    "lora_rank": Only(None),
    "lora_alpha": Only(None),
}
_POOL: Arguments = {**_WINDOW, "pool_size": READ}
_LAST = Only(-1, 3, (-1,), (3,))
_NOISE: Arguments = {"seed": IDLE, "noise_shape": IDLE}
ARGUMENTS: Table = {
    "Conv2D": {**_CONV, "filters": READ, "groups": READ},
    "DepthwiseConv2D": {**_CONV, "depth_multiplier": READ, "filters": IDLE, "groups": IDLE},
    "BatchNormalization": {
        "axis": _LAST,
        "epsilon": READ,
        "momentum": IDLE,
        "center": READ,
        "scale": READ,
        "renorm": Only(False),
        "renorm_clipping": IDLE,
        "renorm_momentum": IDLE,
        "fused": IDLE,
        "virtual_batch_size": IDLE,
        "adjustment": Only(None),
    },
    "Dense": {
        "units": READ,
        "activation": READ,
        "use_bias": READ,
        "lora_rank": Only(None),
        "lora_alpha": Only(None),
    },
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "ZeroPadding2D": {"padding": READ},
    "Activation": {"activation": READ},
    "ReLU": {"max_value": READ, "negative_slope": READ, "threshold": Only(None, 0)},
    "LeakyReLU": {"negative_slope": READ, "alpha": READ},
    "ELU": {"alpha": READ},
    "PReLU": {"shared_axes": READ},
    "Dropout": {"rate": IDLE, **_NOISE},
    "SpatialDropout2D": {"rate": IDLE, **_NOISE},
    "GaussianNoise": {"stddev": IDLE, **_NOISE},
    "Flatten": {},
    "Reshape": {"target_shape": READ},
    "GlobalAveragePooling2D": {"keepdims": IDLE},
    "Add": {},
    "Concatenate": {"axis": Only(-1, 3)},
    "Multiply": {},
    "Softmax": {"axis": Only(-1)},
}


def read_model_json(path: Path) -> Foreign:
    """Read TensorFlow.js's form of a Keras network.

    Raises:
        DataError: it or a shard is absent, damaged, or a layer is not known.
    """
    budget = Budget(path)
    document = _json(path)
    topology = document.get("modelTopology")
    if not isinstance(topology, dict) or "weightsManifest" not in document:
        raise DataError(path, "must be a Keras network: modelTopology and weightsManifest")
    arrays: dict[str, dict[str, Array]] = {}
    try:
        for group in document["weightsManifest"]:
            content = b"".join(_shard(name, budget) for name in group["paths"])
            for name, array in _split(content, group["weights"], budget).items():
                layer, _, weight = name.rpartition("/")
                arrays.setdefault(layer.split("/")[0], {})[weight] = array
    except OSError as error:
        raise DataError(error.filename or path, "cannot be read", reason(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(path, "must have a sound weightsManifest", reason(error)) from error
    return _build(path, topology.get("model_config", topology), arrays)


def read_h5(path: Path) -> Foreign:
    """Read a network that Keras saved as HDF5.

    Raises:
        DataError: it is damaged, holds weights without their network, or a layer is not known.
        UsageError: without the package h5py.
    """
    try:
        import h5py
    except ImportError as error:
        raise missing_extra(path, "h5py", "pretrained") from error
    budget = Budget(path)
    try:
        with h5py.File(path, "r") as file:
            config = None
            arrays: dict[str, dict[str, Array]] = {}
            if "model_config" in file.attrs:
                config = _attribute(file, "model_config", budget)
                weights = _member(file, "model_weights", path)
                for layer in weights:
                    group = _member(weights, layer, path)
                    names = map(_text, _attribute(group, "weight_names", budget))
                    arrays[str(layer)] = {
                        name.rpartition("/")[2].removesuffix(":0"): _dataset(group, name, budget)
                        for name in names
                    }
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise DataError(path, "must be a sound file of Keras", reason(error)) from error
    if config is None:
        rule = "must hold the network as well as its weights, as model.save writes"
        raise DataError(path, rule, "weights alone")
    try:
        document = strict_json.loads(_text(config))
    except ValueError as error:
        raise DataError(path, "must describe its network in JSON") from error
    return _build(path, document, arrays)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = strict_json.loads(read_text(path, MOST_JSON))
    except ValueError as error:
        raise DataError(path, "must be a JSON document") from error
    if not isinstance(document, dict):
        raise DataError(path, "must be a mapping")
    return document


def _attribute(of: Any, name: str, budget: Budget) -> Any:
    """What stands beside a group or file of HDF5."""
    budget.take(of.attrs.get_id(name).get_storage_size())
    return of.attrs[name]


def _member(group: Any, name: str, path: Path) -> Any:
    """What a group of HDF5 holds under a name, or under names joined by `/`.

    Raises:
        DataError: a link leads there, into this file or another one.
        KeyError: there is nothing.
    """
    from h5py import HardLink

    found = group
    for part in name.split("/"):
        link = found.get(part, getlink=True)
        if link is None:
            raise KeyError(f"no {name} in {group.name}")
        if not isinstance(link, HardLink):
            raise DataError(path, "must hold its arrays itself", f"a link, {name}")
        found = found[part]
    return found


def _dataset(group: Any, name: str, budget: Budget) -> Array:
    """An array of HDF5, once its size is known to be one that its file accounts for.

    Raises:
        DataError: it is not, or its numbers lie in another file.
    """
    found = _member(group, name, budget.path)
    if found.is_virtual or found.external:
        raise DataError(budget.path, "must hold its arrays itself", f"numbers elsewhere, of {name}")
    if found.dtype.kind not in "fiu" or found.dtype.shape:
        raise not_read(budget.path, name, found.dtype)
    # A chunk is unpacked whole, however little of it the array uses.
    for shape in (found.shape, found.chunks or ()):
        budget.take_array(shape, found.dtype.itemsize)
    return np.array(found)


def _shard(name: str, budget: Budget) -> bytes:
    shard = budget.file_beside(name)
    budget.take(shard.stat().st_size)
    return shard.read_bytes()


def _split(content: bytes, weights: list[dict[str, Any]], budget: Budget) -> dict[str, Array]:
    """A group's arrays, which follow each other in its shards."""
    arrays = {}
    start = 0
    for weight in weights:
        stored = weight.get("quantization")
        dtype = np.dtype(stored["dtype"] if stored else weight["dtype"]).newbyteorder("<")
        if dtype.kind not in "fiu":
            raise ValueError(f"{weight['name']} of type {dtype}")
        shape = tuple(weight["shape"])
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError(f"{weight['name']} of shape {shape}")
        end = start + prod(shape) * dtype.itemsize
        if end > len(content):
            raise ValueError("shards that end too early")
        array: Array = np.frombuffer(memoryview(content)[start:end], dtype).reshape(shape)
        if stored and "scale" in stored:
            budget.take_array(shape, np.dtype(np.float32).itemsize)
            array = array.astype(np.float32) * stored["scale"] + stored["min"]
        arrays[weight["name"]] = array
        start = end
    return arrays


def _build(path: Path, model: Any, arrays: Mapping[str, dict[str, Array]]) -> Foreign:
    builder = _Builder(path, arrays, is_third=isinstance(model, dict) and "module" in model)
    try:
        config = model["config"]
        layers = config["layers"] if isinstance(config, dict) else config
        for layer in layers:
            builder.add(layer)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(path, "must describe its layers as Keras does", reason(error)) from error
    modules = tuple(op.module for op in builder.ops if op.module is not None)
    return Foreign(str(path), modules, tuple(builder.ops))


class _Builder:
    def __init__(
        self, path: Path, arrays: Mapping[str, dict[str, Array]], *, is_third: bool
    ) -> None:
        self.path = path
        self.arrays = arrays
        self.is_third = is_third  # whether Keras 3 wrote it
        self.ops: list[Op] = []
        self.outputs: dict[str, int] = {}
        self.last = INPUT

    def add(self, layer: dict[str, Any]) -> None:
        """Append a layer, and the activation in it, as ops."""
        word, config = layer["class_name"], layer["config"]
        name = layer.get("name") or config["name"]
        if word == "InputLayer":
            self.outputs[name] = self.last = INPUT
            return
        if word not in ARGUMENTS:
            raise DataError(self.path, f"layer {name} is of a kind that is not known", word)
        given = {key: value for key, value in config.items() if not key.endswith(TRAINING)}
        check_arguments(self.path, name, word, given, {**COMMON, **ARGUMENTS[word]})
        inputs = self._inputs(layer)
        kind, facts = self._kind(word, name, config)
        self._op(kind, name, inputs, facts, self._module(kind, name, word))
        activation = config.get("activation", "linear")
        if word != "Activation" and activation not in (None, "linear"):
            kind, facts = self._activation(name, activation)
            self._op(kind, name, (self.last,), facts, None)
        self.outputs[name] = self.last

    def _op(
        self,
        kind: str,
        name: str,
        inputs: tuple[int, ...],
        facts: dict[str, Any],
        module: Module | None,
    ) -> None:
        self.ops.append(Op(kind, name, inputs, facts, module))
        self.last = len(self.ops) - 1

    def _inputs(self, layer: dict[str, Any]) -> tuple[int, ...]:
        nodes = layer.get("inbound_nodes")
        if not nodes:  # a Sequential network: each layer reads the one before it
            return (self.last,)
        if len(nodes) > 1:
            raise ValueError(f"{layer['config']['name']} is used more than once")
        return tuple(self.outputs[source] for source in _sources(nodes[0]))

    def _kind(  # noqa: PLR0911, PLR0912 - a case a kind
        self, word: str, name: str, config: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        match word:
            case "Conv2D" | "DepthwiseConv2D":
                facts = _window(config["kernel_size"], config["strides"], config["padding"])
                depthwise = word == "DepthwiseConv2D"
                facts |= {"dilation": tuple(config.get("dilation_rate", (1, 1)))}
                return "conv", facts | {"groups": None if depthwise else config.get("groups", 1)}
            case "BatchNormalization":
                return "batchnorm", {"eps": config["epsilon"]}
            case "Dense":
                return "linear", {}
            case "MaxPooling2D" | "AveragePooling2D":
                kind = "maxpool" if word == "MaxPooling2D" else "avgpool"
                strides = config["strides"] or config["pool_size"]
                return kind, _window(config["pool_size"], strides, config["padding"])
            case "ZeroPadding2D":
                return "zeropad", {"padding": tuple(map(tuple, config["padding"]))}
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
            case "Reshape":
                if sum(length != 1 for length in config["target_shape"]) > 1:
                    rule = f"{name} must make a vector, or a map of one pixel"
                    raise DataError(self.path, rule, config["target_shape"])
                return "flatten", {}
        return SAME[word], {}

    def _activation(self, name: str, word: Any) -> tuple[str, dict[str, Any]]:
        if not isinstance(word, str) or word not in ACTIVATIONS:
            raise DataError(self.path, f"the activation of {name} is not known", word)
        if word == "hard_sigmoid" and not self.is_third:
            rule = f"the activation of {name} must not be that of Keras before 3, of a slope of 1/5"
            raise DataError(self.path, rule, word)
        facts = {"negative_slope": 0.2} if word == "leaky_relu" else {}
        return ACTIVATIONS[word], facts

    def _module(self, kind: str, name: str, word: str) -> Module | None:
        found = self.arrays.get(name)
        if not found:
            return None
        kinds: dict[str, Kind] = {"conv": "conv", "linear": "linear", "batchnorm": "norm"}
        arrays = {NAMES.get(key, key): value for key, value in found.items()}
        if kind == "batchnorm":
            channels = arrays["running_mean"].shape
            # Keras leaves them out where they are told not to be trained.
            arrays = {"weight": np.ones(channels), "bias": np.zeros(channels)} | arrays
        elif word == "DepthwiseConv2D":
            h, w, c, multiplier = arrays["weight"].shape
            arrays["weight"] = (
                arrays["weight"].transpose(2, 3, 0, 1).reshape(c * multiplier, 1, h, w)
            )
        elif kind == "conv":
            arrays["weight"] = arrays["weight"].transpose(3, 2, 0, 1)
        elif kind == "linear":
            arrays["weight"] = arrays["weight"].T
        elif kind == "prelu":
            arrays["weight"] = arrays["weight"].reshape(-1)
        return Module(name, kinds.get(kind, "affine"), arrays, flattens="hwc")


def _sources(node: Any) -> list[str]:
    """Names of the layers that a layer reads.

    Keras 1 and 2 list `[name, node, tensor, {}]`; Keras 3 has mappings of tensors anywhere in
    lists of arguments.
    """
    if isinstance(node, list) and node and all(_is_source(part) for part in node):
        return [source[0] for source in node]
    if isinstance(node, dict) and "keras_history" in node:
        return [node["keras_history"][0]]
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [source for part in parts for source in _sources(part)]


def _is_source(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 3 and isinstance(part[0], str)


def _window(kernel_size: Any, stride: Any, padding: str) -> dict[str, Any]:
    return {
        "kernel_size": tuple(kernel_size),
        "stride": tuple(stride),
        "padding": "same" if padding == "same" else (0, 0, 0, 0),
    }
