"""ONNX networks: operators as the layers they come from, with their initializers as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.errors import DataError, missing_extra, reason
from cnn_cli.interop.foreign import INPUT, Foreign, Kind, Module, Op
from cnn_cli.interop.limits import Budget, not_read
from cnn_cli.nn.layers import all_layers
from cnn_cli.nn.types import Array

# Beside those that a layer names as its own.
SAME = {
    "GlobalAveragePool": "global_avgpool",
    "Flatten": "flatten",
    "Reshape": "flatten",
    "Squeeze": "flatten",
    "Dropout": "dropout",
    "Identity": "identity",
    "Softmax": "softmax",
}
# Kinds of numbers, by their names in TensorProto.
READ = {
    *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL"),
    *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
}
# An activation that some exporters write as x times a function of x.
TIMES_ITSELF = {"sigmoid": "silu", "hardsigmoid": "hardswish"}


def read_onnx(path: Path) -> Foreign:
    """Read an ONNX network of one input and one output.

    Raises:
        DataError: it is damaged, or an operator is not known.
        UsageError: without the package onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_extra(path, "onnx", "onnx") from error
    budget = Budget(path)
    budget.take(2 * budget.size)  # the file, and what it says
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        values = {item.name: _array(item, item.name, budget) for item in graph.initializer}
        builder = _Builder(path, dict(values))
        builder.outputs |= {item.name: INPUT for item in graph.input if item.name not in values}
        for node in graph.node:
            attributes = {
                item.name: _plain(onnx.helper.get_attribute_value(item)) for item in node.attribute
            }
            if node.op_type == "Constant":
                array = _array(attributes["value"], node.output[0], budget)
                builder.values[node.output[0]] = array
            elif node.op_type == "Transpose" and node.input[0] in builder.values:
                turned = builder.values[node.input[0]].transpose(attributes.get("perm"))
                builder.values[node.output[0]] = turned
            else:
                builder.add(node, attributes)
    except DataError:
        raise
    except Exception as error:  # protobuf's errors have no common base, and shapes may be anything
        text = reason(error).splitlines()[0]
        raise DataError(path, "must be a sound ONNX network", text) from error
    modules = tuple(op.module for op in builder.ops if op.module is not None)
    return Foreign(str(path), modules, tuple(builder.ops))


def _array(tensor: Any, name: str, budget: Budget) -> Array:
    """A tensor's values, which may lie in a file beside the network's.

    Raises:
        DataError: they lie elsewhere, are more than the files account for, or of a kind that is
            not read.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.DataType.Name(tensor.data_type)
    if kind not in READ:
        raise not_read(budget.path, name, kind)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    budget.take_array(tensor.dims, 2 * dtype.itemsize)  # bfloat16 becomes float32
    if tensor.data_location == TensorProto.EXTERNAL:
        where = {entry.key: entry.value for entry in tensor.external_data}
        with budget.file_beside(where["location"]).open("rb") as file:
            file.seek(int(where.get("offset", 0)))
            tensor.raw_data = file.read(prod(tensor.dims) * dtype.itemsize)
        tensor.data_location = TensorProto.DEFAULT
    array = np.asarray(numpy_helper.to_array(tensor))
    return array.astype(np.float32) if kind == "BFLOAT16" else array


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value


class _Builder:
    def __init__(self, path: Path, values: dict[str, Array]) -> None:
        self.path = path
        self.values = values
        self.ops: list[Op] = []
        self.outputs: dict[str, int] = {}
        plain = {layer.onnx: kind for kind, layer in all_layers().items() if layer.onnx}
        self.same = plain | SAME

    def add(self, node: Any, attributes: Mapping[str, Any]) -> None:
        """Append an operator as an op."""
        name = node.name or f"{node.op_type}_{node.output[0]}"
        inputs = tuple(self.outputs[each] for each in node.input if each in self.outputs)
        constants = [self.values[each] for each in node.input if each in self.values]
        op = self._op(node.op_type, name, inputs, constants, attributes)
        op = self._joined(op)
        self.ops.append(op)
        self.outputs[node.output[0]] = len(self.ops) - 1

    def _op(  # noqa: PLR0911, PLR0912 - a case an operator
        self,
        word: str,
        name: str,
        inputs: tuple[int, ...],
        constants: list[Array],
        attributes: Mapping[str, Any],
    ) -> Op:
        match word:
            case "Conv":
                facts = self._window(name, attributes, constants[0].shape[2:])
                facts |= {"groups": attributes.get("group", 1)}
                arrays = dict(zip(("weight", "bias"), constants, strict=False))
                return Op("conv", name, inputs, facts, Module(name, "conv", arrays))
            case "BatchNormalization":
                keys = ("weight", "bias", "running_mean", "running_var")
                arrays = dict(zip(keys, constants, strict=True))
                facts = {"eps": attributes.get("epsilon", 1e-5)}
                return Op("batchnorm", name, inputs, facts, Module(name, "norm", arrays))
            case "Gemm" | "MatMul":
                return self._linear(word, name, inputs, constants, attributes)
            case "PRelu":
                module = Module(name, "affine", {"weight": constants[0].reshape(-1)})
                return Op("prelu", name, inputs, {}, module)
            case "MaxPool" | "AveragePool":
                facts = self._window(name, attributes, attributes["kernel_shape"])
                facts["ceil_mode"] = bool(attributes.get("ceil_mode", 0))
                if word == "MaxPool":
                    return Op("maxpool", name, inputs, facts)
                facts["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
                return Op("avgpool", name, inputs, facts)
            case "Clip":
                given = [attributes.get("min"), attributes.get("max")]
                bounds = [each.item() for each in constants] or given
                if bounds != [0, 6]:
                    raise DataError(self.path, f"{name} must be a ReLU6", f"bounds {bounds}")
                return Op("relu6", name, inputs)
            case "HardSigmoid":
                slope, shift = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
                if not np.allclose((slope, shift), (1 / 6, 1 / 2)):
                    raise DataError(self.path, f"{name} must have a slope of 1/6", slope)
                return Op("hardsigmoid", name, inputs)
            case "LeakyRelu":
                facts = {"negative_slope": attributes.get("alpha", 0.01)}
                return Op("leaky_relu", name, inputs, facts)
            case "Elu":
                return Op("elu", name, inputs, {"alpha": attributes.get("alpha", 1.0)})
            case "ReduceMean":
                axes = attributes.get("axes", constants[0].tolist() if constants else None)
                if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
                    raise DataError(self.path, f"{name} must be a mean over the map", axes)
                return Op("global_avgpool", name, inputs)
            case "Add" | "Concat" if len(inputs) > 1:
                return Op(word.lower(), name, inputs)
            case "Add" if len(inputs) == 1 and self._is_bias(inputs[0], constants[0]):
                return self._with_bias(inputs[0], constants[0])
            case "Mul" if len(inputs) == 1 and constants and constants[0].size == 1:
                return Op("scale", name, inputs, {"factor": constants[0].item()})
            case "Mul" if len(inputs) == 2:
                return Op("excite", name, inputs)
        if word in self.same:
            return Op(self.same[word], name, inputs)
        raise DataError(self.path, f"operator {name} is of a kind that is not known", word)

    def _linear(
        self,
        word: str,
        name: str,
        inputs: tuple[int, ...],
        constants: list[Array],
        attributes: Mapping[str, Any],
    ) -> Op:
        weight = constants[0]
        if word == "Gemm" and (
            attributes.get("alpha", 1) != 1
            or attributes.get("beta", 1) != 1
            or attributes.get("transA", 0)
        ):
            raise DataError(self.path, f"{name} must be a plain linear layer")
        arrays = {"weight": weight if attributes.get("transB", 0) else weight.T}
        if len(constants) > 1:
            arrays["bias"] = constants[1].reshape(-1)
        return Op("linear", name, inputs, {}, Module(name, "linear", arrays))

    def _is_bias(self, tensor: int, values: Array) -> bool:
        module = None if tensor == INPUT else self.ops[tensor].module
        return (
            module is not None
            and module.kind in ("linear", "conv")
            and "bias" not in module.arrays
            and values.size == module.arrays["weight"].shape[0] == prod(values.shape)
        )

    def _with_bias(self, tensor: int, values: Array) -> Op:
        """The layer before, with the bias that an operator of its own adds."""
        op = self.ops[tensor]
        if op.module is None:
            raise ValueError(f"{op.name} has no weights that a bias could stand beside")
        arrays = {**op.module.arrays, "bias": values.reshape(-1)}
        kind: Kind = op.module.kind
        self.ops[tensor] = Op("identity", op.name, op.inputs)
        return Op(op.kind, op.name, op.inputs, op.facts, Module(op.module.name, kind, arrays))

    def _joined(self, op: Op) -> Op:
        """One op for x times a function of x."""
        if op.kind != "excite":
            return op
        for gate, x in (op.inputs, op.inputs[::-1]):
            if gate == INPUT:
                continue
            kind = TIMES_ITSELF.get(self.ops[gate].kind)
            if kind is not None and self.ops[gate].inputs == (x,):
                return Op(kind, op.name, (x,))
        return op

    def _window(self, name: str, attributes: Mapping[str, Any], kernel: Any) -> dict[str, Any]:
        if len(kernel) != 2:
            raise DataError(self.path, f"{name} must work on images", f"{len(kernel)} dimensions")
        auto = attributes.get("auto_pad", "NOTSET")
        if auto == "SAME_LOWER":
            raise DataError(self.path, f"{name} must not pad at the start alone", auto)
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        return {
            "kernel_size": tuple(kernel),
            "stride": tuple(attributes.get("strides", (1, 1))),
            "dilation": tuple(attributes.get("dilations", (1, 1))),
            "padding": "same" if auto == "SAME_UPPER" else (top, bottom, left, right),
        }
