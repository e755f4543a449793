"""Changes to a network that kernels gain by; the arithmetic stays the same.

Nodes keep their places and names, so that parameters, running statistics and random numbers of one
graph are those of the other.
"""

from __future__ import annotations

from copy import copy

from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.activation import ACTIVATIONS
from cnn_cli.nn.kernels.loops.activation import NONE, RELU
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.identity import Identity
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.structs import replace


def tuned_graph(graph: Graph, backend: Backend) -> Graph:
    """The same network as the kernels of `backend` compute it fastest."""
    graph = choose_paths(graph, backend)
    if backend == "fast":  # one loop does both; in NumPy nothing is gained
        graph = fuse_graph(graph)
    return fuse_pools(graph)


def choose_paths(graph: Graph, backend: Backend) -> Graph:
    """Put each convolution on the path that is fastest with the kernels of `backend`."""
    nodes = [
        replace(node, layer=node.layer.for_backend(backend))
        if isinstance(node.layer, Conv)
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def fuse_graph(graph: Graph) -> Graph:
    """Give each activation to the normalization whose only reader it is.

    One pass does both then. Neither the normalized values are kept for the backward pass nor the
    activation's output for itself: both are computed again from the normalization's input. An
    `Identity` stays where the activation was. `graph` is left as it is.
    """
    from cnn_cli.nn.layers.groupnorm import GroupNorm  # a network without one needs no import

    readers = graph.reader_counts()
    nodes = list(graph.nodes)
    for node in graph.nodes:
        before, function = node.inputs[0], ACTIVATIONS.get(node.layer.kind)
        if function is None or function.loop == NONE or before == IMAGE or readers[before] != 1:
            continue
        layer = graph.nodes[before].layer
        if isinstance(layer, BatchNorm | GroupNorm):
            fused = copy(layer)
            fused.activation = function.loop
            nodes[before] = replace(graph.nodes[before], layer=fused)
            nodes[node.index] = replace(node, layer=Identity(node.layer.in_shape))
    return replace(graph, nodes=tuple(nodes))


def fuse_pools(graph: Graph) -> Graph:
    """Give each ReLU to the max pooling that is its only reader.

    A ReLU never falls, so the largest of a window's ReLUs is the ReLU of its largest number: the
    same bits, from a quarter of the work for 2×2 windows. An `Identity` stays where the ReLU was.
    `graph` is left as it is.
    """
    readers = graph.reader_counts()
    nodes = list(graph.nodes)
    for node in graph.nodes:
        before = node.inputs[0]
        if before == IMAGE or readers[before] != 1 or not isinstance(node.layer, MaxPool):
            continue
        relu = graph.nodes[before]
        if relu.layer.kind == "relu" and IMAGE not in relu.inputs:
            fused = copy(node.layer)
            fused.activation = RELU
            nodes[node.index] = replace(node, layer=fused)
            nodes[before] = replace(relu, layer=Identity(relu.layer.in_shape))
    return replace(graph, nodes=tuple(nodes))


def kernel_kinds(graph: Graph) -> set[str]:
    """Kinds of layers and paths of convolutions: what `load_backend` compiles kernels for.

    Those of single activations too, which prediction calls where it folds a batchnorm into the
    convolution before it.
    """
    layers = [node.layer for node in choose_paths(graph, "fast").nodes]
    return {layer.kind for layer in layers} | {layer.path for layer in layers if layer.path}
