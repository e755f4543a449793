"""What a class's score owes to a layer's output: the gradient of the one by the other.

The network is the one that predicts: running statistics, no dropout. It is neither folded nor
fused, so that every layer of the graph has an output of its own to be asked for.
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
from cnn_cli.nn.training_engine import TrainingPass
from cnn_cli.nn.types import Array


@dataclass(frozen=True, slots=True)
class ScoreGradients:
    """Of a batch of n images.

    Attributes:
        logits: (n, classes).
        classes: (n,) whose score was derived.
        activations: (n, *shape): the layer's output.
        gradients: (n, *shape): of each image's score by that.
    """

    logits: Array
    classes: Array
    activations: Array
    gradients: Array


class Attribution:
    """A network prepared for the gradients of scores by one layer's output.

    `Engine.attribution` makes one; it is good until that engine is closed.

    Args:
        graph: the network, its convolutions on the paths that suit the kernels.
        params: of the engine.
        node: position of the layer in the graph.
        resources, team: of the engine.
    """

    def __init__(
        self, graph: Graph, params: Parameters, node: int, resources: Resources, team: Team
    ) -> None:
        self.node = node
        self._resources = resources
        self._team = team
        network = Network.open(graph, params, team, training=True, running_stats=True, keep=node)
        # Backward passes want a place for the parameters' gradients; nobody reads them here.
        self._gradients = Gradients(graph, params, team)
        self._network = network.with_gradients(self._gradients)

    def __call__(self, x: Array, classes: Array | None = None) -> ScoreGradients:
        """Derive a score of each image.

        Args:
            x: (n, h, w, c), n at least 1, of the network's type; integers are scaled and shifted.
            classes: (n,) class numbers; by default each image's likeliest class.
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
    """A pass whose way back ends at a layer's output."""

    def backward_to(self, node: int, chunk: Chunk, run: RunContext) -> None:
        """Take the scores' gradients back as far as the output of `node`."""
        for step in reversed(self.network.segments[0].steps):
            if step.node.index == node:
                return
            self._backward_node(step, chunk, run)

    def abandon(self, chunk: Chunk, run: RunContext) -> None:
        super().abandon(chunk, run)
        for gradient in chunk.gradients.values():
            run.workspace.give(gradient)
        chunk.gradients.clear()
