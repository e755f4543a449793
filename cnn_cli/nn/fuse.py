"""Fuse nodes for speed; the computed function stays the same.

Nodes keep their positions and names, so parameters, running statistics and random numbers are the
same for both graphs.
"""

from __future__ import annotations

from copy import copy

from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.activation import ACTIVATIONS, CLAMPS
from cnn_cli.nn.kernels.loops.activation import NONE, RELU
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.layers.batchnorm import BatchNorm
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.identity import Identity
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.structs import replace


def tuned_graph(graph: Graph, backend: Backend) -> Graph:
    """Return the network as the kernels of `backend` compute it fastest."""
    graph = choose_paths(graph, backend)
    if backend == "fast":  # one loop computes both; in NumPy there is no gain
        graph = fuse_graph(graph)
    return fuse_pools(graph)


def predicting_graph(graph: Graph, backend: Backend) -> Graph:
    """Return the network as the kernels of `backend` compute its forward pass fastest."""
    graph = tuned_graph(graph, backend)
    nodes = (replace(node, layer=node.layer.for_prediction(backend)) for node in graph.nodes)
    return fuse_clamps(replace(graph, nodes=tuple(nodes)))


def choose_paths(graph: Graph, backend: Backend) -> Graph:
    """Choose for each convolution the path that is fastest with the kernels of `backend`."""
    nodes = [
        replace(node, layer=node.layer.for_backend(backend))
        if isinstance(node.layer, Conv)
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def fuse_graph(graph: Graph) -> Graph:
    """Fuse each activation into the normalization that only it reads.

    One pass then computes both. Neither the normalized values nor the activation's output are kept
    for the backward pass, which recomputes them from the normalization's input. An `Identity`
    replaces the activation. `graph` is not modified.
    """
    from cnn_cli.nn.layers.groupnorm import GroupNorm  # not imported for networks without one

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
    """Fuse each ReLU into the max pooling that is its only reader.

    ReLU is monotonic, so the maximum of a window's ReLUs is the ReLU of its maximum: the same bits,
    at a quarter of the work for 2×2 windows. An `Identity` replaces the ReLU. `graph` is not
    modified.
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


def fuse_clamps(graph: Graph) -> Graph:
    """Fuse each ReLU and ReLU6 into the convolution on the path `direct` that only it reads.

    An `Identity` replaces the activation. `graph` is not modified.
    """
    readers = graph.reader_counts()
    nodes = list(graph.nodes)
    for node in graph.nodes:
        before, function = node.inputs[0], ACTIVATIONS.get(node.layer.kind)
        if (
            function is None
            or before == IMAGE
            or function.loop == NONE
            or function.loop not in CLAMPS
        ):
            continue
        layer = graph.nodes[before].layer
        if isinstance(layer, Conv) and layer.path == "direct" and readers[before] == 1:
            fused = copy(layer)
            fused.activation = function.loop
            nodes[before] = replace(graph.nodes[before], layer=fused)
            nodes[node.index] = replace(node, layer=Identity(node.layer.in_shape))
    return replace(graph, nodes=tuple(nodes))


def kernel_kinds(graph: Graph) -> set[str]:
    """Return the kinds of layers and convolution paths for which `load_backend` compiles kernels.

    They include unfused activations, which prediction uses after folding a batchnorm into its
    convolution.
    """
    layers = [node.layer for node in choose_paths(graph, "fast").nodes]
    layers += [node.layer for node in predicting_graph(graph, "fast").nodes]
    return {layer.kind for layer in layers} | {layer.path for layer in layers if layer.path}
