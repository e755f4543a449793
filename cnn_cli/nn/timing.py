"""How long each layer takes: a network whose layers keep time, for an engine of one worker.

The engine knows nothing of it, and a network that is not timed pays nothing.
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
    """Seconds that a layer has taken so far, forward and backward."""

    forward: float = 0.0
    backward: float = 0.0


def timed(
    graph: Graph, clock: Callable[[], float] = time.perf_counter
) -> tuple[Graph, list[LayerTime]]:
    """The same network with layers that keep time.

    What layers make of their parameters and what happens at barriers counts as the layer's own;
    sums of gradients, the loss and the handing over of arrays are the engine's.

    Args:
        graph: is left as it is.
        clock: seconds.

    Returns:
        The network, and per node the times, which add up until they are set to 0.
    """
    times = [LayerTime() for _ in graph.nodes]
    nodes = tuple(
        replace(node, layer=_timed(node.layer, times[node.index], clock)) for node in graph.nodes
    )
    return replace(graph, nodes=nodes), times


def _timed(layer: Layer, total: LayerTime, clock: Callable[[], float]) -> Layer:
    """A layer of a class of its own that calls the class of `layer` and looks at the clock."""
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
