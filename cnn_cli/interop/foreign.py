"""What a file of somebody else's weights holds, in one form for all kinds of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cnn_cli.errors import DataError, UsageError, reason
from cnn_cli.nn.types import Array

Kind = Literal["conv", "linear", "norm", "affine", "other"]

INPUT = -1
"""The tensor that is the foreign network's input."""


@dataclass(frozen=True, slots=True)
class Module:
    """The arrays of one layer.

    Attributes:
        name: the file's own.
        kind: told by the arrays' names and shapes; `affine` has a scale without statistics.
        arrays: under PyTorch's names (weight, bias, running_mean, running_var) and in its
            layouts, whatever the file's are.
        flattens: order of what a linear layer reads where its input was a map: channels first
            (`chw`, PyTorch) or last (`hwc`, TensorFlow).
    """

    name: str
    kind: Kind
    arrays: Mapping[str, Array]
    flattens: Literal["chw", "hwc"] = "chw"


@dataclass(frozen=True, slots=True)
class Op:
    """One step of a network whose file says how its layers are connected.

    Attributes:
        kind: as in this program's configs, where there is such a layer; else the file's word.
        name: the file's own, for messages.
        inputs: positions of the ops it reads; `INPUT` is the network's input.
        facts: what has to agree: stride, padding, eps and so on.
        module: its arrays, if it has any.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    module: Module | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file's contents.

    Attributes:
        place: the file, for messages.
        modules: of all layers with arrays, in the file's order.
        ops: the network, inputs before their readers; None where the file holds arrays only.
    """

    place: str
    modules: tuple[Module, ...]
    ops: tuple[Op, ...] | None = None


def kind_of(arrays: Mapping[str, Array]) -> Kind:
    """The kind of layer that has arrays of such names and shapes, under PyTorch's names."""
    weight = arrays.get("weight")
    if "running_mean" in arrays:
        return "norm"
    match None if weight is None else weight.ndim:
        case 4:
            return "conv"
        case 2:
            return "linear"
        case 1:
            return "affine"
    return "other"


def open_foreign(path: Path) -> Foreign:
    """Read a file of weights; which kind it is, its name says.

    Raises:
        DataError: it is absent, damaged, of a kind that is not read, or holds more than arrays.
        UsageError: reading it needs an extra that is not installed.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except (OSError, ValueError) as error:
        raise DataError(path, "cannot be read", reason(error)) from error
    if suffix in (".pth", ".pt", ".bin", ".ckpt"):
        from cnn_cli.interop.torch_file import read_torch

        return read_torch(path)
    if suffix == ".safetensors":
        from cnn_cli.interop.array_files import read_safetensors

        return read_safetensors(path)
    if suffix == ".npz":
        from cnn_cli.interop.array_files import read_npz

        return read_npz(path)
    if suffix == ".onnx":
        from cnn_cli.interop.onnx_file import read_onnx

        return read_onnx(path)
    if suffix == ".json":
        from cnn_cli.interop.keras_file import read_model_json

        return read_model_json(path)
    if suffix in (".h5", ".hdf5") or start == b"\x89HDF\r\n\x1a\n":
        from cnn_cli.interop.keras_file import read_h5

        return read_h5(path)
    rule = "must be .safetensors, .onnx, .h5, .npz, .pth, or the model.json of a Keras network"
    raise DataError(path, rule, f"a name ending in {suffix!r}" if suffix else "no ending")


def missing_extra(place: object, package: str, extra: str) -> UsageError:
    """The error where a file needs a package that is not installed."""
    rule = f"needs {package}; install it with pip install 'cnn-cli[{extra}]'"
    return UsageError(place, rule)


def modules_by_name(arrays: Mapping[str, Array]) -> tuple[Module, ...]:
    """Group arrays named `<layer>.<param>` or `<layer>/<param>`, in the order they come in.

    Counters of batches, which PyTorch's batchnorm keeps and nothing reads, are left out.
    """
    grouped: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, _, param = name.replace("/", ".").rpartition(".")
        if param != "num_batches_tracked":
            grouped.setdefault(layer, {})[param] = array
    return tuple(Module(name, kind_of(found), found) for name, found in grouped.items())
