"""ONNX files: the network is read operator by operator, initializers as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli.errors import DataError, listed, missing_extra, reason
from cnn_cli.interop.foreign import INPUT, Foreign, ScaleAndShift
from cnn_cli.interop.limits import Budget, not_read
from cnn_cli.interop.readers.onnx_operators import OnnxOperators
from cnn_cli.interop.simplify import simplified
from cnn_cli.nn.types import Array, Shape

# Supported dtypes, by their names in TensorProto.
READ = {
    *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL"),
    *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
}
WHITES = {2: 255.0, 4: 65535.0}  # of integer pixels, by TensorProto's types
CHANNELS = (1, 3, 4)  # of images, to tell channels from rows


def read_onnx(path: Path, in_shape: Shape | None = None) -> Foreign:
    """Read an ONNX network with one input and one output.

    Args:
        path: the file.
        in_shape: (rows, columns, channels) of an image, if the file does not give them.

    Raises:
        DataError: it is damaged, or an operator is unknown.
        UsageError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_extra(path, "onnx", "onnx") from error
    budget = Budget(path)
    budget.take(2 * budget.size)  # the file, and its parsed content
    try:
        model = onnx.load(str(path), load_external_data=False)
        graph = model.graph
        values = {item.name: _array(item, item.name, budget) for item in graph.initializer}
        if len(graph.output) != 1:
            names = listed([item.name for item in graph.output])
            raise DataError(path, "must have one output", f"{len(graph.output)}: {names}")
        versions = {each.domain: each.version for each in model.opset_import}
        network = OnnxOperators(budget, dict(values), versions.get("", versions.get("ai.onnx", 1)))
        facts = {each.key: each.value for each in model.metadata_props}
        entry = _input(graph, values, in_shape, facts.get("channels"), path)
        network.begin(*entry)
        for node in graph.node:
            attributes, tensors = {}, {}
            for item in node.attribute:
                if item.type == onnx.AttributeProto.TENSOR:
                    tensors[item.name] = _array(item.t, node.output[0], budget)
                else:
                    attributes[item.name] = _plain(onnx.helper.get_attribute_value(item))
            network.add(node, attributes, tensors)
        end = network.views.get(graph.output[0].name)
        if end is None or end.op == INPUT:
            raise DataError(path, "its output must come of its input", graph.output[0].name)
        white = WHITES.get(_entries(graph, values)[0].type.tensor_type.elem_type)
    except DataError:
        raise
    # Protobuf's errors have no common base class, and shapes may be anything.
    except Exception as error:
        text = reason(error).splitlines()[0]
        raise DataError(path, "must be a sound ONNX network", text) from error
    ops, normalization = simplified(network.ops, end.op)
    if normalization is not None:
        normalization = replace(normalization, white=white)
    elif white is not None:
        normalization = ScaleAndShift(np.ones(1), np.zeros(1), white)
    modules = tuple(op.module for op in ops if op.module is not None)
    return Foreign(str(path), modules, ops, network.in_shape, entry[3], normalization, facts=facts)


def _array(tensor: Any, name: str, budget: Budget) -> Array:
    """Return a tensor's values, which may be stored in a file beside the network.

    Raises:
        DataError: they are stored elsewhere, are larger than the files account for, or have an
            unsupported dtype.
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


def _entries(graph: Any, values: Mapping[str, Array]) -> list[Any]:
    """Return the network's inputs; older files list constants among them."""
    return [item for item in graph.input if item.name not in values]


def _input(
    graph: Any,
    values: Mapping[str, Array],
    in_shape: Shape | None,
    channels: str | None,
    path: Path,
) -> tuple[str, int, Shape, bool]:
    """Return the network's input: its name, batch size, image shape, and whether channels come
    last.

    Raises:
        DataError: there are several inputs, or the image size is unknown.
    """
    entries = _entries(graph, values)
    if len(entries) != 1:
        names = listed([item.name for item in entries])
        raise DataError(path, "must have one input", f"{len(entries)}: {names}")
    (entry,) = entries
    sizes = [dim.dim_value or None for dim in entry.type.tensor_type.shape.dim]
    batch, *lengths = sizes or [None]
    # Channels are few, and first if both positions are possible.
    few = CHANNELS if channels is None or not channels.isdecimal() else (int(channels),)
    last = len(lengths) == 3 and lengths[2] in few and lengths[0] not in few
    if in_shape is not None and len(lengths) in (0, 3):
        given = in_shape if last else (in_shape[2], *in_shape[:2])
        lengths = [a or b for a, b in zip(lengths or [None] * 3, given, strict=True)]
    if not lengths or None in lengths:
        text = "×".join("?" if each is None else str(each) for each in lengths)
        rule = f"the input {entry.name} must have a size; give data.image_size"
        raise DataError(path, rule, text or "none")
    found = [int(each) for each in lengths if each is not None]
    shape = tuple(found) if last else (*found[1:], found[0])
    return entry.name, batch or 1, shape, last
