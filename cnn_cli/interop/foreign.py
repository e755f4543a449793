"""The content of a file of weights, in one form for all formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cnn_cli.errors import UsageError
from cnn_cli.nn.types import Array, Shape

Kind = Literal["conv", "linear", "norm", "affine", "other"]

Which = Literal["ema", "model"]
"""Which weights of a training checkpoint: the trained ones, or their moving average."""

HAS_BOTH = "weights are those that were trained; --which ema takes their average"

Activation = Literal["softmax", "sigmoid"]
"""What turns scores into probabilities: of one label per image, or of several."""

INPUT = -1
"""The number of the input tensor."""

PASSED_OVER = ("dropout", "drop_path", "flatten", "identity")
"""Kinds of ops that keep all values in a prediction."""


@dataclass(frozen=True, slots=True)
class Module:
    """The arrays of one layer.

    Attributes:
        name: name in the file.
        kind: inferred from the arrays' names and shapes; `affine` has a scale without statistics.
        arrays: under PyTorch's names (weight, bias, running_mean, running_var) and in its layouts,
            whatever the file's are.
        flattens: order of a linear layer's input if it was a map: channels first (`chw`, PyTorch)
            or last (`hwc`, TensorFlow).
    """

    name: str
    kind: Kind
    arrays: Mapping[str, Array]
    flattens: Literal["chw", "hwc"] = "chw"


@dataclass(frozen=True, slots=True)
class Op:
    """One step of a network whose structure is in the file.

    Attributes:
        kind: name of the layer in configs, if there is one; else the file's name.
        name: name in the file, for messages.
        inputs: positions of the ops that it reads; `INPUT` is the network's input.
        facts: arguments that must agree: stride, padding, eps and so on.
        module: its arrays, or None.
        shape: shape of its output for one image, in this program's order: (rows, columns,
            channels), or (features,); None if the reader does not know it.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    module: Module | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class ScaleAndShift:
    """The normalization at the beginning of a network: image · `scale` + `shift`.

    Attributes:
        scale, shift: one number, or one per channel.
        white: the largest pixel value, if the file tells.
    """

    scale: Array
    shift: Array
    white: float | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """The content of a file.

    Attributes:
        place: the file, for messages.
        modules: all layers with arrays, in the file's order.
        ops: the network, in topological order; None if the file contains arrays only.
        in_shape: (rows, columns, channels) of an image, if the file tells.
        channels_last: whether the file's network reads images with channels last.
        normalization: the network's normalization of its image, which is not among the ops.
        activation: the activation after the scores, which is not among the ops; None if the network
            ends in scores, or the file contains arrays only.
        facts: the file's metadata; of a network of this program, see `exported`.
        notes: notes for the user on how the file was read.
    """

    place: str
    modules: tuple[Module, ...]
    ops: tuple[Op, ...] | None = None
    in_shape: Shape | None = None
    channels_last: bool = False
    normalization: ScaleAndShift | None = None
    activation: Activation | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def no_choice(place: object) -> UsageError:
    """Return the error for `--which` with a file that cannot have both kinds of weights."""
    return UsageError("--which", "goes with a .pth file or a checkpoint of cnn", place)


def kind_of(shapes: Mapping[str, Shape]) -> Kind:
    """Infer the kind of layer from its arrays' shapes, under PyTorch's names."""
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
    """Group arrays named `<layer>.<param>` or `<layer>/<param>`, in their order.

    PyTorch's batch counters, which nothing reads, are dropped.
    """
    grouped: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        layer, _, param = name.replace("/", ".").rpartition(".")
        if param == "layer_scale":  # in torchvision's ConvNeXt it is an array of the block
            grouped[f"{layer}.{param}"] = {"weight": array.reshape(-1)}
        elif param != "num_batches_tracked":
            grouped.setdefault(layer, {})[param] = array
    return tuple(
        Module(name, kind_of({param: array.shape for param, array in found.items()}), found)
        for name, found in grouped.items()
    )
