"""The operators that a layer becomes in ONNX: images are (n, c, h, w) there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.activation import ELU, LeakyReLU
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.groupnorm import GroupNorm
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.layers.scale import Scale
from cnn_cli.nn.params import Parameters, to_torch
from cnn_cli.nn.types import Array


@dataclass(slots=True)
class Operators:
    """A growing list of operators.

    Attributes:
        nodes: operator, inputs, output and attributes of each.
        constants: arrays by name.
    """

    graph: Graph
    params: Parameters
    image: str
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    _outputs: dict[int, str] = field(default_factory=dict)

    def add(self, word: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append((word, inputs, output, attributes))
        return output

    def constant(self, name: str, values: Array | list[int]) -> str:
        """Keep an array; whole numbers are shapes, all others float32."""
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.constants[name] = np.ascontiguousarray(array, kind)
        return name

    def network(self) -> str:
        """Append the whole network; the name of its scores."""
        for node in self.graph.nodes:
            self._outputs[node.index] = self._layer(node, [self._tensor(t) for t in node.inputs])
        return self._outputs[len(self.graph.nodes) - 1]

    def _tensor(self, tensor: int) -> str:
        return self.image if tensor == IMAGE else self._outputs[tensor]

    def _param(self, node: Node, name: str) -> str:
        """A parameter or statistic under PyTorch's name and in its layout."""
        views = self.params.views[node.index] | self.params.buffer_views[node.index]
        for spec in node.layer.params:
            if spec.name == name:
                return self.constant(f"{node.name}.{name}", to_torch(views[name], spec))
        return self.constant(f"{node.name}.{name}", views[name])

    def _layer(self, node: Node, inputs: list[str]) -> str:  # noqa: PLR0911, PLR0912 - a case a kind
        layer, name, kind = node.layer, node.name, node.layer.kind
        match layer:
            case Conv():
                return self._conv(node, layer, inputs)
            case BatchNorm():
                inputs = [*inputs, *(self._param(node, each) for each in _NORM)]
                return self.add("BatchNormalization", inputs, name, epsilon=layer.eps)
            case GroupNorm():
                return self._groupnorm(node, layer, inputs[0])
            case MaxPool():
                windows = _windows(layer) | {"dilations": layer.windows.dilation}
                return self.add("MaxPool", inputs, name, **windows)
            case AvgPool():
                return self._avgpool(layer, name, inputs)
            case LeakyReLU():
                return self.add("LeakyRelu", inputs, name, alpha=layer.negative_slope)
            case ELU():
                return self.add("Elu", inputs, name, alpha=layer.alpha)
        match kind:
            case "dropout" | "drop_path":
                return inputs[0]
            case "scale":
                assert isinstance(layer, Scale)
                factor = self.constant(f"{name}.factor", np.array(layer.factor))
                return self.add("Mul", [*inputs, factor], name)
            case "linear":
                if len(layer.in_shape) > 1:
                    inputs = [self.add("Flatten", inputs, f"{name}.flat", axis=1)]
                inputs = [*inputs, *(self._param(node, spec.name) for spec in layer.params)]
                return self.add("Gemm", inputs, name, transB=1)
            case "global_avgpool":
                mean = self.add("GlobalAveragePool", inputs, f"{name}.mean")
                return self.add("Flatten", [mean], name, axis=1)
            case "flatten":
                return self.add("Flatten", inputs, name, axis=1)
            case "relu6":
                bounds = [
                    self.constant("zero", np.array(0.0)),
                    self.constant("six", np.array(6.0)),
                ]
                return self.add("Clip", [*inputs, *bounds], name)
            case "silu":
                gate = self.add("Sigmoid", inputs, f"{name}.gate")
                return self.add("Mul", [*inputs, gate], name)
            case "hardsigmoid":
                return self.add("HardSigmoid", inputs, name, alpha=1 / 6, beta=0.5)
            case "prelu":
                slope = self.params.views[node.index]["weight"]
                # Meets channels first: (c, 1, 1), or (c,) where there is no map.
                shape = (-1, 1, 1) if len(layer.in_shape) == 3 else (-1,)
                slope_name = self.constant(f"{name}.weight", slope.reshape(shape))
                return self.add("PRelu", [*inputs, slope_name], name)
            case "concat":
                return self.add("Concat", inputs, name, axis=1)
            case "excite":
                shape_name = self.constant("one pixel", [0, -1, 1, 1])
                gate = self.add("Reshape", [inputs[1], shape_name], f"{name}.pixel")
                return self.add("Mul", [inputs[0], gate], name)
            case "add" if len(inputs) != 2:
                return self.add("Sum", inputs, name)
        return self.add(layer.onnx, inputs, name)

    def _conv(self, node: Node, layer: Conv, inputs: list[str]) -> str:
        geometry = layer.geometry
        top, bottom, left, right = geometry.padding
        return self.add(
            "Conv",
            [*inputs, *(self._param(node, spec.name) for spec in layer.params)],
            node.name,
            kernel_shape=geometry.kernel_size,
            strides=geometry.stride,
            dilations=geometry.dilation,
            group=geometry.groups,
            pads=(top, left, bottom, right),
        )

    def _avgpool(self, layer: AvgPool, name: str, inputs: list[str]) -> str:
        """An average; where windows count other areas than ONNX's, corrected by their ratio."""
        attributes = _windows(layer)
        kh, kw = layer.windows.kernel_size
        if layer.areas.size == 1 and float(layer.areas.item()) == kh * kw:
            return self.add("AveragePool", inputs, name, **attributes, count_include_pad=1)
        mean = self.add("AveragePool", inputs, f"{name}.sum", **attributes, count_include_pad=1)
        ratio = self.constant(f"{name}.ratio", (kh * kw / layer.areas).transpose(2, 0, 1))
        return self.add("Mul", [mean, ratio], name)

    def _groupnorm(self, node: Node, layer: GroupNorm, x: str) -> str:
        """Each group as a channel of its own, normalized, and scaled as channels again."""
        name, groups = node.name, layer.num_groups
        by_group = self.constant(f"{name}.groups", [0, groups, -1])
        ones = self.constant(f"{name}.ones", np.ones(groups))
        zeros = self.constant(f"{name}.zeros", np.zeros(groups))
        grouped = self.add("Reshape", [x, by_group], f"{name}.grouped")
        normal = self.add(
            "InstanceNormalization", [grouped, ones, zeros], f"{name}.normal", epsilon=layer.eps
        )
        *size, channels = layer.in_shape
        shape = self.constant(f"{name}.shape", [0, channels, *size])
        back = self.add("Reshape", [normal, shape], f"{name}.back")
        per_channel = (-1, *(1 for _ in size))
        views = self.params.views[node.index]
        scale, shift = (
            self.constant(f"{name}.{each}", views[each].reshape(per_channel))
            for each in ("weight", "bias")
        )
        scaled = self.add("Mul", [back, scale], f"{name}.scaled")
        return self.add("Add", [scaled, shift], name)


_NORM = ("weight", "bias", "running_mean", "running_var")


def _windows(layer: MaxPool | AvgPool) -> dict[str, Any]:
    """Padding is written out, so that `ceil_mode` needs no rule of its own."""
    windows = layer.windows
    starts = windows.padding
    ends = tuple(
        max((out - 1) * stride + kernel - size - start, 0)
        for out, stride, kernel, size, start in zip(
            windows.out_size,
            windows.stride,
            windows.reach,
            windows.in_size,
            starts,
            strict=True,
        )
    )
    return {
        "kernel_shape": windows.kernel_size,
        "strides": windows.stride,
        "pads": (*starts, *ends),
    }
