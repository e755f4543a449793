"""Time each layer: a network of layers that measure themselves, for an engine with one worker.

The engine is not involved, and networks that are not timed pay nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnn_cli.nn.graph import Graph
from cnn_cli.nn.layers.base import Layer
from cnn_cli.structs import replace

FORWARD = ("prepare", "forward", "partial", "combine", "update_running", "forward_batch")
BACKWARD = ("backward", "backward_partial", "combine_backward", "backward_batch", "collect")


@dataclass(slots=True)
class LayerTime:
    """The seconds that a layer has taken so far, forward and backward."""

    forward: float = 0.0
    backward: float = 0.0


def timed(
    graph: Graph, clock: Callable[[], float] = time.perf_counter
) -> tuple[Graph, list[LayerTime]]:
    """Return the same network with timed layers.

    Preparing parameters and work at barriers counts as the layer's; summing gradients, the loss and
    moving arrays count as the engine's.

    Args:
        graph: the network; not modified.
        clock: returns seconds.

    Returns:
        The network, and per node its times, which accumulate until they are reset to 0.
    """
    times = [LayerTime() for _ in graph.nodes]
    nodes = tuple(
        replace(node, layer=_timed(node.layer, times[node.index], clock)) for node in graph.nodes
    )
    return replace(graph, nodes=nodes), times


def _timed(layer: Layer, total: LayerTime, clock: Callable[[], float]) -> Layer:
    """Return a layer whose class times the methods of the class of `layer`."""
    kind: Any = type(layer)

    def timing(name: str, part: str) -> Callable[..., Any]:
        method = getattr(kind, name)

        def call(self: Layer, *args: Any) -> Any:
            start = clock()
            result = method(self, *args)
            setattr(total, part, getattr(total, part) + clock() - start)
            return result

        return call

    parts = dict.fromkeys(FORWARD, "forward") | dict.fromkeys(BACKWARD, "backward")
    methods = {name: timing(name, part) for name, part in parts.items() if hasattr(kind, name)}
    timed_kind: type[Layer] = type(kind.__name__, (kind,), methods)
    other = timed_kind.__new__(timed_kind)
    vars(other).update(vars(layer))
    return other
