"""The engine: runs a batch through the network, in chunks, on all threads.

The batch is divided into chunks of a few images. A worker takes its chunks through a whole segment
of nodes, so that activations are still in cache when the next node reads them. Only the engine
knows about threads. `training_engine` adds gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.closing import Closing
from cnn_cli.nn.blas import Blas
from cnn_cli.nn.context import RunContext, Workspace
from cnn_cli.nn.fold import FoldedNetwork
from cnn_cli.nn.fuse import choose_paths, predicting_graph
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk, Pass, Resources
from cnn_cli.nn.plan import CHUNK_BYTES, images_per_chunk
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array, Share

if TYPE_CHECKING:
    from cnn_cli.nn.attribution import Attribution


class Engine(Closing):
    """A network with its memory and threads.

    Args:
        graph: the network.
        params: its parameters.
        threads: number of workers.
        seed: seed of dropout.
        scale, shift: per channel, (c,): integer images become ``x * scale + shift``.
        scale_floats: apply them to float images as well, which are otherwise used unchanged.
        kernels: the kernels, see `nn.backends`.
        beside: an engine with as many workers, whose threads and chunk memory this one shares; they
            never run at once, and this one is closed first.
    """

    def __init__(
        self,
        graph: Graph,
        params: Parameters,
        *,
        threads: int = 1,
        seed: int = 0,
        scale: Array | None = None,
        shift: Array | None = None,
        scale_floats: bool = False,
        kernels: Kernels = NUMPY,
        beside: Engine | None = None,
    ) -> None:
        self.graph = graph
        self.params = params
        self.dtype = params.dtype
        self._blas = Blas()
        self._is_guest = beside is not None
        self._team: Team = Team(threads) if beside is None else beside._team
        _, width, channels = graph.in_shape
        self._resources = Resources(
            workspaces=beside.workspaces if beside else [Workspace() for _ in range(threads)],
            images_per_chunk=images_per_chunk(graph, self.dtype.itemsize, CHUNK_BYTES),
            seed=seed,
            scale=_row(np.ones(channels) if scale is None else scale, width, self.dtype),
            shift=_row(np.zeros(channels) if shift is None else shift, width, self.dtype),
            scale_floats=scale_floats,
            kernels=kernels,
        )
        self._kernels = kernels
        self._inference: dict[int, tuple[Network, FoldedNetwork]] = {}
        self._outputs: dict[str, Array] = {}

    @property
    def threads(self) -> int:
        return self._team.size

    @property
    def share(self) -> Share:
        """Gives parts of a task to the threads, between two calls of the engine."""
        return self._team.share

    @property
    def chunk_size(self) -> int:
        """Number of images per chunk."""
        return self._resources.images_per_chunk

    @property
    def workspaces(self) -> list[Workspace]:
        return self._resources.workspaces

    @property
    def nbytes(self) -> int:
        """Bytes of memory held for chunks."""
        return sum(workspace.nbytes for workspace in self.workspaces)

    def close(self) -> None:
        """End the threads and restore the number of BLAS threads."""
        if not self._is_guest:
            self._team.close()
        self._blas.close()

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        """The network's output for each image, with running statistics and without dropout.

        Args:
            x: (n, h, w, c), of the network's dtype; integers are scaled and shifted.
            params: other parameters to use, such as averaged ones.

        Returns:
            Logits (n, classes), overwritten by the next call.
        """
        logits = self._output("logits", len(x))
        self._evaluate(self._for_inference(params or self.params), x, logits)
        return logits

    def features(self, node: int) -> Callable[[Array], Array]:
        """Return a function that computes the output of a node in evaluation mode, with the current
        parameters.

        Args:
            node: a position in the graph; no later node reads a node before it.

        Returns:
            A function of x, as in `predict`, that returns (n, *the node's shape).
        """
        whole = self.graph
        part = Graph(whole.nodes[: node + 1], whole.in_shape, whole.classes)
        folded = FoldedNetwork(part, self.params)
        folded.refresh()
        tuned = predicting_graph(folded.graph, self._kernels.name)
        network = Network.open(tuned, folded.params, self._team, training=False)
        network.prepared.refresh()

        def compute(x: Array) -> Array:
            out = np.empty((len(x), *whole.shape(node)), self.dtype)
            self._evaluate(network, x, out)
            return out

        return compute

    def _evaluate(self, network: Network, x: Array, out: Array) -> None:
        """Run an evaluation network, or a part of one, and write its output."""
        batch = Pass(self._resources, network, x)
        output = network.segments[0].steps[-1].node.index

        def through(chunk: Chunk, run: RunContext) -> None:
            batch.forward(0, chunk, run)
            out[chunk.start : chunk.stop] = chunk.values[output]
            chunk.release([output], run.workspace)

        # With a single image, the other workers are idle: they share its layers, or BLAS has their
        # cores.
        alone = batch.busy == 1 and self.threads > 1
        shared = alone and _shares_work(network)
        with self._blas.threads(self.threads if alone and not shared else 1):
            if shared:
                batch.share = self._team.share
                self._team.alone(batch.each_chunk(through))
            else:
                self._team.run(batch.each_chunk(through))

    def attribution(self, node: int) -> Attribution:
        """Prepare gradients of the classes' scores with respect to the output of a node."""
        from cnn_cli.nn.attribution import Attribution  # not needed for prediction

        graph = choose_paths(self.graph, self._kernels.name)
        return Attribution(graph, self.params, node, self._resources, self._team)

    def _for_inference(self, params: Parameters) -> Network:
        """Return the folded network for these parameters, brought up to date."""
        held = self._inference.get(id(params))
        if held is None:
            folded = FoldedNetwork(self.graph, params)
            tuned = predicting_graph(folded.graph, self._kernels.name)
            held = Network.open(tuned, folded.params, self._team, training=False), folded
            self._inference[id(params)] = held
        network, folded = held
        folded.refresh()
        network.prepared.refresh()
        return network

    def _output(self, name: str, n: int) -> Array:
        """Return a (n, classes) array, reused unless batches grow."""
        held = self._outputs.get(name)
        if held is None or len(held) < n:
            held = self._outputs[name] = np.empty((n, self.graph.classes), self.dtype)
        return held[:n]


def _shares_work(network: Network) -> bool:
    """Whether the layers cut most of their work themselves, and none leaves it to BLAS.

    BLAS's threads, which go on waiting at work for a while, would be in the way.
    """
    paths = {node.layer.path for node in network.graph.nodes}
    return "direct" in paths and "winograd" not in paths


def _row(values: Array, width: int, dtype: DTypeLike) -> Array:
    """(c,) -> (w·c,)."""
    return np.tile(values, width).astype(dtype)
