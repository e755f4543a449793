"""Gradients of class scores with respect to a layer's output.

The network is in evaluation mode: running statistics, no dropout. It is neither folded nor fused,
so that every layer of the graph has an output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.context import RunContext
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk, Resources
from cnn_cli.nn.team import Team
from cnn_cli.nn.training_pass import TrainingPass
from cnn_cli.nn.types import Array


@dataclass(frozen=True, slots=True)
class ScoreGradients:
    """Scores and gradients of a batch of n images.

    Attributes:
        logits: (n, classes).
        classes: (n,) whose score was differentiated.
        activations: (n, *shape), the layer's output.
        gradients: (n, *shape), of each image's score with respect to that output.
    """

    logits: Array
    classes: Array
    activations: Array
    gradients: Array


class Attribution:
    """A network prepared for gradients of scores with respect to one layer's output.

    `Engine.attribution` creates it; it is valid until that engine is closed.

    Args:
        graph: the network, with convolution paths that suit the kernels.
        params: the engine's parameters.
        node: position of the layer in the graph.
        resources, team: the engine's.
    """

    def __init__(
        self, graph: Graph, params: Parameters, node: int, resources: Resources, team: Team
    ) -> None:
        self.node = node
        self._resources = resources
        self._team = team
        network = Network.open(graph, params, team, training=True, running_stats=True, keep=node)
        # Backward passes write parameter gradients, which are ignored here.
        self._gradients = Gradients(graph, params, team, network.segments)
        self._network = self._gradients.attached_to(network)

    def __call__(self, x: Array, classes: Array | None = None) -> ScoreGradients:
        """Differentiate one score of each image.

        Args:
            x: (n, h, w, c), n at least 1, of the network's dtype; integers are scaled and shifted.
            classes: (n,) class numbers; by default each image's most probable class.
        """
        network = self._network
        network.prepared.refresh()
        n, output = len(x), len(network.graph.nodes) - 1
        shape, dtype = (n, *network.graph.shape(self.node)), network.params.dtype
        found = ScoreGradients(
            logits=np.empty((n, network.graph.classes), dtype),
            classes=np.empty(n, np.int64) if classes is None else np.asarray(classes, np.int64),
            activations=np.empty(shape, dtype),
            gradients=np.empty(shape, dtype),
        )
        score_pass = _ScorePass(self._resources, network, x, gradients=self._gradients)

        def through(chunk: Chunk, run: RunContext) -> None:
            rows = slice(chunk.start, chunk.stop)
            score_pass.forward(0, chunk, run)
            found.logits[rows] = chunk.values[output]
            found.activations[rows] = chunk.values[self.node]
            if classes is None:
                found.classes[rows] = found.logits[rows].argmax(axis=1)
            dy = run.take(found.logits[rows].shape)
            dy[...] = found.classes[rows, None] == np.arange(network.graph.classes)
            chunk.gradients[output] = dy
            score_pass.backward_to(self.node, chunk, run)
            found.gradients[rows] = chunk.gradients[self.node]
            score_pass.abandon(chunk, run)

        self._team.run(score_pass.each_chunk(through))
        return found


class _ScorePass(TrainingPass):
    """A pass whose backward pass ends at a layer's output."""

    def backward_to(self, node: int, chunk: Chunk, run: RunContext) -> None:
        """Propagate the scores' gradients back to the output of `node`."""
        for step in reversed(self.network.segments[0].steps):
            if step.node.index == node:
                return
            if step.has_backward:
                self._backward_node(step, chunk, run)

    def abandon(self, chunk: Chunk, run: RunContext) -> None:
        super().abandon(chunk, run)
        for gradient in chunk.gradients.values():
            run.workspace.give(gradient)
        chunk.gradients.clear()
