"""Build a network from the config's layers; `residual`, `branches` and `repeat` are expanded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli.config.layer_model import LayerConfig
from cnn_cli.config.layers import (
    AnyLayer,
    BranchesConfig,
    FromConfig,
    RepeatConfig,
    ResidualConfig,
    SplitConfig,
)
from cnn_cli.config.places import Places
from cnn_cli.config.sections import ModelConfig
from cnn_cli.errors import ConfigError, suggest
from cnn_cli.nn.graph import IMAGE, Graph, GraphBuilder, NodeError
from cnn_cli.nn.layers.base import Block, shape_text
from cnn_cli.nn.types import Pair, Shape

# The layer that joins branches, by `combine`.
COMBINED = {"concat": "concat", "sum": "add", "product": "product"}


def build_graph(model: ModelConfig, in_shape: Shape, classes: int, source: str) -> Graph:
    """Build the network.

    Args:
        model: the config's section.
        in_shape: (height, width, channels) of an image.
        classes: number of scores at the end of the network.
        source: the config's file, for messages.

    Raises:
        ConfigError: a layer does not fit its input, reads one that is not before it, is never read,
            or shares its name; or the network does not end in one score per class.
    """
    writer = _Writer(in_shape, classes, source, model.places)
    end = writer.chain(model.layers, IMAGE, "layers", "model.layers", ())
    out_shape = writer.shape(end)
    if out_shape != (classes,):
        place = f"{source}: {model.places.written(f'model.layers[{len(model.layers) - 1}]')}"
        rule = f"the network must end in one score per class, {classes}"
        raise ConfigError(place, rule, f"an output of {shape_text(out_shape)}")
    writer.refuse_unread(end)
    return writer.builder.graph(classes)


class _Writer:
    """Appends the nodes of layers, in order.

    Args:
        in_shape: shape of an image.
        classes: the value of `classes`.
        source: the config's file, for messages.
        places: where its layers are written, for messages.
    """

    def __init__(self, in_shape: Shape, classes: int, source: str, places: Places) -> None:
        self.builder = GraphBuilder(in_shape)
        self.classes = classes
        self.source = source
        self.places = places
        self._node_places: list[str] = []
        self._ends: dict[str, int] = {}  # by the names of finished layers
        self._open: list[str] = []  # names of unfinished layers

    def shape(self, tensor: int) -> Shape:
        return self.builder.shape(tensor)

    def chain(
        self, layers: Sequence[AnyLayer], x: int, path: str, place: str, copies: tuple[int, ...]
    ) -> int:
        """Append layers one after another; return the last one's tensor.

        `copies` are the numbers of the enclosing repeats' copies, which are appended to names in
        them.
        """
        for i, layer in enumerate(layers):
            name = f"{path}.{i}"
            if layer.name is not None:
                name = ".".join([layer.name, *map(str, copies)])
            inside = f"{place}[{i}].{layer.kind}"
            self._open.append(name)
            x = self._append(layer, x, name, inside, copies)
            self._open.pop()
            if name in self._ends:
                raise self._error(inside, "names must be unique in the network", repr(name))
            self._ends[name] = x
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
            case BranchesConfig() | SplitConfig():
                return self._branches(layer, x, name, place, copies)
            case FromConfig():
                return self._earlier(layer.layer, place, copies)
            case _:
                arguments = {
                    key: self.classes if value == "classes" else value
                    for key, value in layer.arguments().items()
                }
                if issubclass(layer.written, Block):
                    return self._block(layer.written, arguments, x, name, place)
                return self._node(layer.kind, arguments, [x], name, place)

    def _earlier(self, name: str, place: str, copies: tuple[int, ...]) -> int:
        """Return the output of a layer by its name, preferring the innermost copy."""
        for depth in range(len(copies), -1, -1):
            numbered = ".".join([name, *map(str, copies[:depth])])
            if numbered in self._ends:
                return self._ends[numbered]
            if numbered in self._open[:-1]:
                raise self._error(place, "must not name a layer that contains it", repr(name))
        near = suggest(name, [each for each in self._ends if not each.startswith("layers.")])
        raise self._error(place, f"must name an earlier layer.{near}", repr(name))

    def refuse_unread(self, end: int) -> None:
        """Refuse a layer whose output is never read, which only a later `from` can cause."""
        unread = self.builder.unread(end)
        if unread is not None:
            rule = "a layer behind it must read its output"
            raise self._error(self._node_places[unread.index], rule, None)

    def _residual(
        self, layer: ResidualConfig, x: int, name: str, place: str, copies: tuple[int, ...]
    ) -> int:
        branch = self.chain(layer.layers, x, f"{name}.layers", f"{place}.layers", copies)
        if layer.drop_path > 0:
            arguments = {"p": layer.drop_path}
            branch = self._node("drop_path", arguments, [branch], f"{name}.drop_path", place)
        path, where = f"{name}.shortcut", f"{place}.shortcut"
        if layer.shortcut is None:
            end = self._default_shortcut(layer, x, branch, path, where)
        else:
            end = self.chain(layer.shortcut, x, path, where, copies)
        return self._node("add", {}, [branch, end], name, place)

    def _branches(
        self,
        layer: BranchesConfig | SplitConfig,
        x: int,
        name: str,
        place: str,
        copies: tuple[int, ...],
    ) -> int:
        ends = []
        for i, branch in enumerate(layer.branches):
            start, inside = x, f"{place}[{i}]"
            if isinstance(layer, SplitConfig):
                arguments = {"parts": len(layer.branches), "index": i}
                start = self._node("part", arguments, [x], f"{name}.{i}.part", place)
                inside = f"{place}.branches[{i}]"
            ends.append(self.chain(branch, start, f"{name}.{i}", inside, copies))
        combine = "concat" if isinstance(layer, SplitConfig) else COMBINED[layer.combine]
        return self._node(combine, {}, ends, name, place)

    def _block(
        self, block: type[Block], arguments: dict[str, Any], x: int, name: str, place: str
    ) -> int:
        """Append several layers that are written as one."""
        end = x
        for each in block(self.shape(x), **arguments).chain:
            end = self._node(each.kind, each.arguments, [end], f"{name}.{each.name}", place)
        return self._node(block.joins, {}, [x, end], name, place)

    def _default_shortcut(
        self, layer: ResidualConfig, x: int, branch: int, name: str, place: str
    ) -> int:
        """Append an identity, or a projection if the shapes differ (He et al. 2015, option B)."""
        here, there = self.shape(x), self.shape(branch)
        if here == there or len(here) != 3 or len(there) != 3:
            return x
        projection = {
            "out_channels": there[2],
            "kernel_size": (1, 1),
            "stride": _total_stride(layer.layers),
            "bias": False,
        }
        x = self._node("conv", projection, [x], f"{name}.0", f"{place}[0].conv")
        return self._node("batchnorm", {}, [x], f"{name}.1", f"{place}[1].batchnorm")

    def _node(
        self, kind: str, arguments: Mapping[str, Any], inputs: list[int], name: str, place: str
    ) -> int:
        self._node_places.append(place)
        try:
            return self.builder.add(kind, arguments, inputs, name)
        except NodeError as error:
            raise self._error(place, error.rule, error.got) from error

    def _error(self, place: str, rule: str, got: str | None) -> ConfigError:
        return ConfigError(f"{self.source}: {self.places.written(place)}", rule, got)


def _total_stride(layers: Sequence[AnyLayer]) -> Pair:
    """Return the product of the strides along some layers (along the first of several branches)."""
    height = width = 1
    for layer in layers:
        match layer:
            case RepeatConfig():
                inner = _total_stride(layer.layers)
                step = (inner[0] ** layer.times, inner[1] ** layer.times)
            case ResidualConfig():
                step = _total_stride(layer.layers)
            case BranchesConfig() | SplitConfig():
                step = _total_stride(layer.branches[0])
            case _:
                step = layer.arguments().get("stride", (1, 1))
        height, width = height * step[0], width * step[1]
    return height, width
