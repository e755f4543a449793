"""A network with parameters and without arithmetic."""

from __future__ import annotations

from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import BufferSpec, Layer, ParamSpec


class Stub(Layer):
    """A layer with arrays only."""

    def __init__(self, *params: ParamSpec, buffers: tuple[BufferSpec, ...] = ()) -> None:
        self.in_shape = self.out_shape = (1,)
        self.params = params
        self.buffers = buffers


def stub_graph(**layers: Layer) -> Graph:
    """Return a chain of named layers; a double underscore stands for a dot."""
    nodes = tuple(
        Node(i, name.replace("__", "."), layer, (i - 1,))
        for i, (name, layer) in enumerate(layers.items())
    )
    return Graph(nodes, (1,), 1)


def small_graph() -> Graph:
    """Return a convolution with the layout (kh, kw, in, out), a batchnorm and a linear layer."""
    return stub_graph(
        stem=Stub(ParamSpec("weight", (3, 2, 5, 4), "weight", 30, (3, 2, 0, 1))),
        layers__1=Stub(
            ParamSpec("weight", (4,), "scale"),
            ParamSpec("bias", (4,), "shift"),
            buffers=(BufferSpec("running_mean", (4,), 0), BufferSpec("running_var", (4,), 1)),
        ),
        layers__2=Stub(
            ParamSpec("weight", (7, 3), "weight", 7, (1, 0)), ParamSpec("bias", (3,), "bias", 7)
        ),
    )
