"""A network's ONNX operators and arrays, collected from its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.layers.base import Attribute
from cnn_cli.nn.params import Parameters, to_torch
from cnn_cli.nn.types import Array


@dataclass(slots=True)
class OnnxNetwork:
    """A graph of operators under construction; implements `nn.layers.base.Operators`.

    Attributes:
        nodes: operator, inputs, output and attributes of each node.
        constants: arrays by name.
    """

    graph: Graph
    params: Parameters
    image: str
    nodes: list[tuple[str, Sequence[str], str, dict[str, Attribute]]] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    _outputs: dict[int, str] = field(default_factory=dict)

    def add(
        self, operator: str, inputs: Sequence[str], output: str, **attributes: Attribute
    ) -> str:
        self.nodes.append((operator, inputs, output, attributes))
        return output

    def constant(self, name: str, values: Array | list[int]) -> str:
        """Store an array; integers are shapes, everything else is float32."""
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.constants[name] = np.ascontiguousarray(array, kind)
        return name

    def add_layers(self) -> str:
        """Append the whole network; return the name of its scores."""
        for node in self.graph.nodes:
            inputs = [self._tensor(tensor) for tensor in node.inputs]
            arrays = self._arrays(node)
            self._outputs[node.index] = node.layer.to_onnx(inputs, node.name, arrays, self)
        return self._outputs[len(self.graph.nodes) - 1]

    def _tensor(self, tensor: int) -> str:
        return self.image if tensor == IMAGE else self._outputs[tensor]

    def _arrays(self, node: Node) -> dict[str, Array]:
        """Return parameters and statistics under PyTorch's names and in its layouts."""
        views = self.params.views[node.index]
        own = {spec.name: to_torch(views[spec.name], spec) for spec in node.layer.params}
        return own | self.params.buffer_views[node.index]
