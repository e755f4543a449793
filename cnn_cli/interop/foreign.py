"""What a file of somebody else's weights holds, in one form for all kinds of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cnn_cli.nn.types import Array, Shape

Kind = Literal["conv", "linear", "norm", "affine", "other"]

Which = Literal["ema", "model"]
"""The trained weights of a training's checkpoint, or their average."""

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
        shape: of its output for one image, as this program has it: (rows, columns, channels), or
            (features,); None where the reader does not say.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    module: Module | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a network does to its image before anything else: it times `scale`, plus `shift`.

    Attributes:
        scale, shift: a number, or one a channel.
        white: the largest value of a pixel, where the file says it.
    """

    scale: Array
    shift: Array
    white: float | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file's contents.

    Attributes:
        place: the file, for messages.
        modules: of all layers with arrays, in the file's order.
        ops: the network, inputs before their readers; None where the file holds arrays only.
        in_shape: (rows, columns, channels) of an image, where the file says it.
        channels_last: whether the file's network reads images so.
        normalization: what the network does to its image, which is not among the ops.
        facts: what the file says beside its network, as `export` writes it.
        notes: what was read in a way that is worth a word.
    """

    place: str
    modules: tuple[Module, ...]
    ops: tuple[Op, ...] | None = None
    in_shape: Shape | None = None
    channels_last: bool = False
    normalization: Normalization | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def kind_of(shapes: Mapping[str, Shape]) -> Kind:
    """The kind of layer that has arrays of such shapes, under PyTorch's names."""
    if "running_mean" in shapes:
        return "norm"
    match len(shapes.get("weight", ())):
        case 4:
            return "conv"
        case 2:
            return "linear"
        case 1:
            return "affine"
    return "other"


def modules_by_name(arrays: Mapping[str, Array]) -> tuple[Module, ...]:
    """Group arrays named `<layer>.<param>` or `<layer>/<param>`, in the order they come in.

    Counters of batches, which PyTorch's batchnorm keeps and nothing reads, are left out.
    """
    grouped: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, _, param = name.replace("/", ".").rpartition(".")
        if param == "layer_scale":  # torchvision's ConvNeXt has it as an array of its block
            grouped[f"{layer}.{param}"] = {"weight": array.reshape(-1)}
        elif param != "num_batches_tracked":
            grouped.setdefault(layer, {})[param] = array
    return tuple(
        Module(name, kind_of({param: array.shape for param, array in found.items()}), found)
        for name, found in grouped.items()
    )
