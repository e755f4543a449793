"""From the config's layers to a flat list of nodes in topological order, shapes inferred.

`residual`, `branches` and `repeat` are written out here; a sum and a concatenation are ordinary
layers. The engine, the summary and the checkpoint all read this one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn_cli.config.layer import LayerConfig
from cnn_cli.config.layers import AnyLayer, BranchesConfig, RepeatConfig, ResidualConfig
from cnn_cli.config.models import ModelConfig
from cnn_cli.config.plain_layers import (
    BatchNormConfig,
    ConvConfig,
    LinearConfig,
    SqueezeExciteConfig,
)
from cnn_cli.errors import ConfigError
from cnn_cli.nn.layers import LAYERS
from cnn_cli.nn.layers.base import Layer, ShapeError
from cnn_cli.nn.layers.dropout import DropPath
from cnn_cli.nn.layers.merge import Add, Concat, Excite
from cnn_cli.nn.types import Pair, Shape

IMAGE = -1
MAX_NODES = 20_000


@dataclass(frozen=True, slots=True)
class Node:
    """One layer in the network.

    Attributes:
        index: its position in the graph; its output is the tensor of that number.
        name: what parameters, errors and the summary call it.
        layer: the arithmetic.
        inputs: tensors it reads; `IMAGE` is the network's input.
    """

    index: int
    name: str
    layer: Layer
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A network: shapes are of one image, (height, width, channels) or (features,).

    Attributes:
        still: nodes whose parameters do not move in training.
    """

    nodes: tuple[Node, ...]
    in_shape: Shape
    classes: int
    still: frozenset[int] = frozenset()

    def shape(self, tensor: int) -> Shape:
        return self.in_shape if tensor == IMAGE else self.nodes[tensor].layer.out_shape

    def reader_counts(self) -> list[int]:
        """How many times each node's output is read."""
        counts = [0] * len(self.nodes)
        for node in self.nodes:
            for tensor in node.inputs:
                if tensor != IMAGE:
                    counts[tensor] += 1
        return counts


def build_graph(model: ModelConfig, in_shape: Shape, classes: int, source: str) -> Graph:
    """Write the network out.

    Args:
        model: the config's section.
        in_shape: (height, width, channels) of an image.
        classes: how many scores the network ends in.
        source: the config's file, for messages.

    Raises:
        ConfigError: a layer does not fit its input, two layers share a name, or the network
            does not end in one score per class.
    """
    builder = _Builder(in_shape, classes, source)
    end = builder.chain(model.layers, IMAGE, "layers", "model.layers", ())
    out_shape = builder.shape(end)
    if out_shape != (classes,):
        place = f"{source}: model.layers[{len(model.layers) - 1}]"
        rule = f"the network must end in one score per class, {classes}"
        raise ConfigError(place, rule, f"an output of {shape_text(out_shape)}")
    return Graph(tuple(builder.nodes), in_shape, classes)


def shape_text(shape: Shape) -> str:
    """`28x28x16`: height, width, channels."""
    return "x".join(map(str, shape))


class _Builder:
    def __init__(self, in_shape: Shape, classes: int, source: str) -> None:
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.in_shape = in_shape
        self.classes = classes
        self.source = source

    def shape(self, tensor: int) -> Shape:
        return self.in_shape if tensor == IMAGE else self.nodes[tensor].layer.out_shape

    def chain(
        self, layers: Sequence[AnyLayer], x: int, path: str, place: str, copies: tuple[int, ...]
    ) -> int:
        """Append layers one after the other; return the last one's tensor.

        `copies` counts the enclosing repeats: a name given inside one gets its number.
        """
        for i, layer in enumerate(layers):
            name = f"{path}.{i}"
            if layer.name is not None:
                name = ".".join([layer.name, *map(str, copies)])
            x = self._append(layer, x, name, f"{place}[{i}].{layer.kind}", copies)
        return x

    def _append(
        self, layer: LayerConfig, x: int, name: str, place: str, copies: tuple[int, ...]
    ) -> int:
        match layer:
            case RepeatConfig():
                for copy in range(layer.times):
                    path = f"{name}.{copy}.layers"
                    x = self.chain(layer.layers, x, path, f"{place}.layers", (*copies, copy))
                return x
            case ResidualConfig():
                return self._residual(layer, x, name, place, copies)
            case SqueezeExciteConfig():
                return self._squeeze_excite(layer, x, name, place)
            case BranchesConfig():
                ends = [
                    self.chain(branch, x, f"{name}.{i}", f"{place}[{i}]", copies)
                    for i, branch in enumerate(layer.branches)
                ]
                return self._node(Concat, [self.shape(end) for end in ends], {}, ends, name, place)
            case _:
                arguments = layer.arguments()
                if isinstance(layer, LinearConfig) and layer.out_features == "classes":
                    arguments["out_features"] = self.classes
                return self._node(LAYERS[layer.kind], self.shape(x), arguments, [x], name, place)

    def _residual(
        self, layer: ResidualConfig, x: int, name: str, place: str, copies: tuple[int, ...]
    ) -> int:
        branch = self.chain(layer.layers, x, f"{name}.layers", f"{place}.layers", copies)
        if layer.drop_path > 0:
            arguments = {"p": layer.drop_path}
            inputs, part = self.shape(branch), f"{name}.drop_path"
            branch = self._node(DropPath, inputs, arguments, [branch], part, place)
        shortcut = layer.shortcut
        if shortcut is None:
            shortcut = self._default_shortcut(layer, x, branch)
        end = self.chain(shortcut, x, f"{name}.shortcut", f"{place}.shortcut", copies)
        ends = [branch, end]
        return self._node(Add, [self.shape(tensor) for tensor in ends], {}, ends, name, place)

    def _squeeze_excite(self, layer: SqueezeExciteConfig, x: int, name: str, place: str) -> int:
        """A number a channel, found from all channels' means, that the map is multiplied by."""
        channels, squeezed = self.shape(x)[-1], layer.squeeze_channels
        end = x
        for part, kind, arguments in (
            ("pool", "global_avgpool", {}),
            ("reduce", "linear", {"out_features": squeezed}),
            ("activation", layer.activation, {}),
            ("expand", "linear", {"out_features": channels}),
            ("gate", layer.gate, {}),
        ):
            inputs, where = self.shape(end), f"{name}.{part}"
            end = self._node(LAYERS[kind], inputs, arguments, [end], where, place)
        ends = [x, end]
        return self._node(Excite, [self.shape(tensor) for tensor in ends], {}, ends, name, place)

    def _default_shortcut(self, layer: ResidualConfig, x: int, branch: int) -> tuple[AnyLayer, ...]:
        """Identity, or a projection where the shapes differ (He et al. 2015, option B)."""
        here, there = self.shape(x), self.shape(branch)
        if here == there or len(here) != 3 or len(there) != 3:
            return ()
        stride = _total_stride(layer.layers)
        return (
            ConvConfig(out_channels=there[2], kernel_size=(1, 1), stride=stride, bias=False),
            BatchNormConfig(),
        )

    def _node(
        self,
        layer_class: type[Layer],
        in_shape: Any,
        arguments: dict[str, Any],
        inputs: list[int],
        name: str,
        place: str,
    ) -> int:
        where = f"{self.source}: {place}"
        if name in self.names:
            raise ConfigError(where, "names must be unique in the network", repr(name))
        if len(self.nodes) >= MAX_NODES:
            raise ConfigError(where, f"a network has at most {MAX_NODES:,} layers", "more")
        try:
            layer = layer_class(in_shape, **arguments)
        except ShapeError as error:
            shapes = " and ".join(shape_text(self.shape(tensor)) for tensor in inputs)
            raise ConfigError(where, str(error), f"an input of {shapes}") from error
        if inputs != [IMAGE] and any(spec.init == "whitening" for spec in layer.params):
            raise ConfigError(where, "init whitening is for a layer that reads the image itself")
        self.names.add(name)
        self.nodes.append(Node(len(self.nodes), name, layer, tuple(inputs)))
        return len(self.nodes) - 1


def _total_stride(layers: Sequence[AnyLayer]) -> Pair:
    """The product of the strides along some layers (along the first one of branches)."""
    height = width = 1
    for layer in layers:
        match layer:
            case RepeatConfig():
                inner = _total_stride(layer.layers)
                step = (inner[0] ** layer.times, inner[1] ** layer.times)
            case ResidualConfig():
                step = _total_stride(layer.layers)
            case BranchesConfig():
                step = _total_stride(layer.branches[0])
            case _:
                step = layer.arguments().get("stride", (1, 1))
        height, width = height * step[0], width * step[1]
    return height, width
