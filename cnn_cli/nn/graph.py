"""A network as a flat list of nodes in topological order, with inferred shapes.

Engine, summary, export and checkpoint all read this list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli.nn.layers import layer_class
from cnn_cli.nn.layers.base import REQUIRED, Layer, ShapeError, shape_text
from cnn_cli.nn.types import Shape
from cnn_cli.schema.constraints import COUNT, accepts, from_plain
from cnn_cli.structs import Struct

IMAGE = -1
MAX_NODES = 20_000


class Node(Struct, eq=False):
    """One layer in the network.

    Attributes:
        index: its position in the graph, and the number of its output tensor.
        name: its name in parameters, errors and the summary.
        layer: the layer.
        inputs: numbers of the tensors it reads; `IMAGE` is the network's input.
        arguments: arguments of the layer, apart from its inputs' shapes.
    """

    index: int
    name: str
    layer: Layer
    inputs: tuple[int, ...]
    arguments: Mapping[str, Any] = {}


class Graph(Struct):
    """A network: shapes are of one image, (height, width, channels) or (features,).

    Attributes:
        frozen: nodes with frozen parameters.
    """

    nodes: tuple[Node, ...]
    in_shape: Shape
    classes: int
    frozen: frozenset[int] = frozenset()

    def shape(self, tensor: int) -> Shape:
        return self.in_shape if tensor == IMAGE else self.nodes[tensor].layer.out_shape

    def plain(self) -> dict[str, Any]:
        """Return the network as JSON-compatible values, which `read_graph` reads."""
        nodes = [
            {
                "name": node.name,
                "kind": node.layer.kind,
                "inputs": list(node.inputs),
                "arguments": dict(node.arguments),
            }
            for node in self.nodes
        ]
        return {"in_shape": list(self.in_shape), "classes": self.classes, "nodes": nodes}

    def reader_counts(self) -> list[int]:
        """Return how many times each node's output is read."""
        counts = [0] * len(self.nodes)
        for node in self.nodes:
            for tensor in node.inputs:
                if tensor != IMAGE:
                    counts[tensor] += 1
        return counts


class NodeError(ValueError):
    """A node that cannot be added to the network.

    Args:
        rule: what must hold.
        got: what was found instead; None if the rule is enough.
    """

    def __init__(self, rule: str, got: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.got = got


class GraphBuilder:
    """Builds a network node by node, from an input image of `in_shape`."""

    def __init__(self, in_shape: Shape) -> None:
        self.in_shape = in_shape
        self.nodes: list[Node] = []
        self._names: set[str] = set()

    def shape(self, tensor: int) -> Shape:
        return self.in_shape if tensor == IMAGE else self.nodes[tensor].layer.out_shape

    def add(self, kind: str, arguments: Mapping[str, Any], inputs: Sequence[int], name: str) -> int:
        """Append a node, and return its position.

        Args:
            kind: kind of the layer.
            arguments: arguments of the layer, apart from its inputs' shapes.
            inputs: numbers of the tensors it reads.
            name: name of the node.

        Raises:
            NodeError: its name is taken, the layer does not fit its inputs, or there are too many
                nodes.
        """
        if name in self._names:
            raise NodeError("names must be unique in the network", repr(name))
        if len(self.nodes) >= MAX_NODES:
            raise NodeError(f"a network has at most {MAX_NODES:,} layers", "more")
        made_of = layer_class(kind)
        shapes = [self.shape(tensor) for tensor in inputs]
        if len(shapes) > 1 and not made_of.takes_tuple:
            raise NodeError(f"{kind} has one input", f"{len(shapes)} inputs")
        in_shape: Any = shapes if made_of.takes_tuple else shapes[0]
        try:
            layer = made_of(in_shape, **arguments)
        except ShapeError as error:
            text = " and ".join(map(shape_text, shapes))
            raise NodeError(str(error), f"an input of {text}") from error
        if list(inputs) != [IMAGE] and any(spec.init == "whitening" for spec in layer.params):
            raise NodeError("init whitening is for a layer that reads the image itself")
        self._names.add(name)
        self.nodes.append(Node(len(self.nodes), name, layer, tuple(inputs), dict(arguments)))
        return len(self.nodes) - 1

    def unread(self, end: int) -> Node | None:
        """Return the first node, other than the last, whose output is never read."""
        read = {end, *(tensor for node in self.nodes for tensor in node.inputs)}
        return next((node for node in self.nodes if node.index not in read), None)

    def graph(self, classes: int) -> Graph:
        """Return the network so far, whose output must have one score per class."""
        return Graph(tuple(self.nodes), self.in_shape, classes)


def read_graph(document: Any) -> Graph:
    """Read the network that `Graph.plain` returned; the document is not trusted.

    Raises:
        NodeError: it is not such a network.
    """
    if not isinstance(document, dict) or not {"in_shape", "classes", "nodes"} <= set(document):
        raise NodeError("must hold in_shape, classes and nodes")
    in_shape, classes, nodes = (
        from_plain(document[key]) for key in ("in_shape", "classes", "nodes")
    )
    sizes = isinstance(in_shape, tuple) and len(in_shape) == 3
    if not (sizes and all(map(COUNT.accepts, in_shape))):
        raise NodeError("in_shape must be three whole numbers above 0")
    if not (isinstance(nodes, tuple) and nodes):
        raise NodeError("nodes must be a list")
    builder = GraphBuilder(in_shape)
    for number, node in enumerate(nodes):
        try:
            _read_node(builder, node)
        except NodeError as error:
            raise NodeError(f"nodes[{number}]: {error.rule}", error.got) from error
    out_shape = builder.shape(len(nodes) - 1)
    if out_shape != (classes,):
        got = f"an output of {shape_text(out_shape)}"
        raise NodeError("the network must end in one score per class", got)
    unread = builder.unread(len(nodes) - 1)
    if unread is not None:
        raise NodeError(f"nodes[{unread.index}]: another node must read its output")
    return builder.graph(classes)


def _read_node(builder: GraphBuilder, node: Any) -> None:
    keys = ("name", "kind", "inputs", "arguments")
    if not isinstance(node, dict) or set(node) != set(keys):
        raise NodeError(f"must be a mapping of {', '.join(keys)}")
    name, kind, inputs, arguments = (node[key] for key in keys)
    if not (isinstance(name, str) and name and isinstance(kind, str)):
        raise NodeError("name and kind must be words")
    if not (isinstance(inputs, tuple) and inputs and isinstance(arguments, dict)):
        raise NodeError("inputs must be a list, and arguments a mapping")
    before = range(IMAGE, len(builder.nodes))
    if not all(type(tensor) is int and tensor in before for tensor in inputs):
        raise NodeError("inputs must be nodes before it")
    try:
        expected = layer_class(kind).arguments()
    except KeyError as error:
        raise NodeError("no such layer", repr(kind)) from error
    if extra := next((key for key in arguments if key not in expected), None):
        raise NodeError(f"{kind} takes no such argument", repr(extra))
    for key, argument in expected.items():
        if key not in arguments:
            if argument.default is REQUIRED:
                raise NodeError(f"{kind} needs {key}")
        elif not accepts(argument.type, arguments[key]):
            raise NodeError(f"{key} of {kind} is out of bounds", repr(arguments[key])[:60])
    builder.add(kind, arguments, inputs, name)
