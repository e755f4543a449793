"""Carries chunks of a batch through the network, on all threads.

The batch is cut into chunks of a few images. A worker takes its chunks through a whole segment of
nodes, so that activations are still in cache when the next node reads them; in the last segment
the backward pass follows at once. Only batch normalization in training makes chunks wait for each
other, at the barriers between segments. Only the engine knows about threads.

Which chunk goes where depends on batch, shapes and thread count only, and sums are added in the
order of chunks and workers: the same bits every time. For networks that use each weight often
they are the same for one, two and four threads or processes as well (`float64_sums`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike
from threadpoolctl import ThreadpoolController

from cnn_cli.nn.attribution import Attribution
from cnn_cli.nn.chunk import Chunk
from cnn_cli.nn.context import RunContext
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.float64_sums import Float64Gradients
from cnn_cli.nn.fold import FoldedNetwork
from cnn_cli.nn.fuse import choose_paths, tuned_graph
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.backend import NUMPY, Kernels
from cnn_cli.nn.layers.batch import Statistics
from cnn_cli.nn.loss import cross_entropy, cross_entropy_gradient
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Pass, Resources
from cnn_cli.nn.plan import CHUNK_BYTES, images_per_chunk, uses_float64_sums
from cnn_cli.nn.team import Team
from cnn_cli.nn.types import Array
from cnn_cli.nn.workspace import Workspace


class Engine:
    """A network, its memory and its threads.

    Args:
        graph: the network.
        params: its parameters; training reads them and writes running statistics.
        threads: how many workers.
        seed: of dropout.
        scale, shift: per channel, (c,): images of integers become ``x * scale + shift``.
        kernels: what layers compute with, see `kernels.backend`.
        entry: the tensor that `train_step` is given instead of images: `plan.frozen_prefix`.
        exchange: with the processes that share every batch of `train_step`; None where a batch
            is this process's alone.
        batch_size: images of a training's batches, shared ones as a whole; how gradients are
            summed depends on it.

    Attributes:
        gradient: one flat array like `params.flat`: the last step's gradient.
        gradient_views: named views of it.
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
        kernels: Kernels = NUMPY,
        entry: int = IMAGE,
        exchange: Exchange | None = None,
        batch_size: int = 1,
    ) -> None:
        self.graph = graph
        self.entry = entry
        self.params = params
        self.dtype = params.dtype
        self._blas = ThreadpoolController()
        self._limits = self._blas.limit(limits=1, user_api="blas")
        self._team = Team(threads)
        _, width, channels = graph.in_shape
        self._resources = Resources(
            workspaces=[Workspace() for _ in range(threads)],
            images_per_chunk=images_per_chunk(graph, self.dtype.itemsize, CHUNK_BYTES),
            seed=seed,
            scale=_row(np.ones(channels) if scale is None else scale, width, self.dtype),
            shift=_row(np.zeros(channels) if shift is None else shift, width, self.dtype),
            kernels=kernels,
            float64_sums=uses_float64_sums(graph, self.dtype.itemsize, batch_size),
        )
        self._gradients: Gradients | None = None
        self._exchange = exchange
        self._kernels = kernels
        self._network = Network.open(
            tuned_graph(graph, kernels.name), params, self._team, training=True, entry=entry
        )
        self._inference: dict[int, tuple[Network, FoldedNetwork]] = {}
        self._outputs: dict[str, Array] = {}

    @property
    def threads(self) -> int:
        return self._team.size

    @property
    def chunk_size(self) -> int:
        """How many images go through the network together."""
        return self._resources.images_per_chunk

    @property
    def workspaces(self) -> list[Workspace]:
        return self._resources.workspaces

    @property
    def gradient(self) -> Array:
        return self._sums().flat[0]

    @property
    def gradient_is_finite(self) -> bool:
        """Whether all of `gradient` is."""
        return self._sums().finite

    @property
    def gradient_views(self) -> list[dict[str, Array]]:
        return self._sums().views[0]

    @property
    def nbytes(self) -> int:
        """Bytes held for chunks and gradients."""
        gradients = 0 if self._gradients is None else self._gradients.nbytes
        return gradients + sum(workspace.nbytes for workspace in self.workspaces)

    def close(self) -> None:
        """End the threads and give BLAS its own back."""
        self._team.close()
        self._limits.restore_original_limits()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def predict(self, x: Array, params: Parameters | None = None) -> Array:
        """The network's output for each image, with running statistics and without dropout.

        Args:
            x: (n, h, w, c), of the network's type; integers are scaled and shifted.
            params: other parameters to use, such as averaged ones.

        Returns:
            Logits (n, classes), overwritten by the next call.
        """
        logits = self._output("logits", len(x))
        self._evaluate(self._for_inference(params or self.params), x, logits)
        return logits

    def features(self, node: int) -> Callable[[Array], Array]:
        """What computes the output of a node as `predict` does, of the parameters as they are now.

        Args:
            node: a position in the graph; no node before it is read by one behind it.

        Returns:
            A function of x, as of `predict`, that gives (n, *the node's shape).
        """
        whole = self.graph
        part = Graph(whole.nodes[: node + 1], whole.in_shape, whole.classes)
        folded = FoldedNetwork(part, self.params)
        folded.refresh()
        tuned = tuned_graph(folded.graph, self._kernels.name)
        network = Network.open(tuned, folded.params, self._team, training=False)
        network.prepared.refresh()

        def compute(x: Array) -> Array:
            out = np.empty((len(x), *whole.shape(node)), self.dtype)
            self._evaluate(network, x, out)
            return out

        return compute

    def _evaluate(self, network: Network, x: Array, out: Array) -> None:
        """Write what a network for evaluation ends in."""
        batch = Pass(self._resources, network, x)
        batch.has_backward = False
        output = len(network.graph.nodes) - 1

        def through(chunk: Chunk, run: RunContext) -> None:
            batch.forward(0, chunk, run)
            out[chunk.start : chunk.stop] = chunk.values[output]
            chunk.release([output], run.workspace)

        # A single image leaves the other workers idle, and BLAS may have their cores.
        cores = self.threads if batch.busy == 1 else 1
        with self._blas.limit(limits=cores, user_api="blas"):
            self._team.run(batch.each_chunk(through))

    def train_step(
        self,
        x: Array,
        targets: Array,
        divisor: float,
        *,
        step: int = 0,
        offset: int = 0,
        mix: Mix | None = None,
    ) -> tuple[float, Array]:
        """Forward, loss and backward of a batch: fills `gradient`, updates running statistics.

        With an exchange, images and targets are this process's share of the batch, which may be
        empty; gradient and statistics are those of the whole batch.

        Args:
            x: (n, h, w, c), n at least 1; integers are scaled and shifted. Behind these there may
                be more, which `mix` takes for second images.
            targets, divisor: of `loss.target_weights`; the divisor is the whole batch's.
            step: number of the step, which dropout depends on.
            offset: place of the share's first image in the batch, which dropout depends on.
            mix: what becomes of the images, if two are to be one; the targets know it already.

        Returns:
            The share's summed loss over `divisor`, and logits (n, classes), overwritten by the
            next call.
        """
        n = len(targets)
        logits = self._output("logits", n)
        losses = self._output("losses", n)[:, 0]
        sums = self._sums()
        self._network.prepared.refresh()
        batch = Pass(
            self._resources,
            self._network,
            x,
            n=n,
            offset=offset,
            step=step,
            gradients=sums,
            mix=mix,
            exchange=self._exchange,
        )
        output = len(self.graph.nodes) - 1
        last = len(self._network.segments) - 1

        def turn(chunk: Chunk, run: RunContext) -> None:
            """The last segment: forward, loss, and backward at once."""
            batch.forward(last, chunk, run)
            rows = slice(chunk.start, chunk.stop)
            scores = chunk.values[output]
            logits[rows] = scores
            cross_entropy(scores, targets[rows], losses[rows])
            dy = run.take(scores.shape)
            cross_entropy_gradient(scores, targets[rows], divisor, dy)
            chunk.gradients[output] = dy
            batch.backward(last, chunk, run)

        self._forward_to(batch, last)
        self._team.run(batch.each_chunk(turn))
        for level in reversed(range(last)):
            self._share_gradients(batch, level + 1)
            batch.combine_backward(level)
            self._team.run(batch.each_chunk(partial(batch.backward, level)))
        if self._exchange is None:
            sums.reduce(batch.busy)
        else:
            self._share_gradients(batch, 0)
            self._exchange.finish_sums()
            sums.look()
        return float(losses.sum(dtype=np.float64)) / divisor, logits

    def batch_statistics(
        self, x: Array, *, step: int = 0, offset: int = 0
    ) -> dict[int, Statistics]:
        """The statistics of a batch at each batch layer, by node; running ones are left alone.

        Args:
            x: (n, h, w, c), with an exchange this process's share of the batch.
            step, offset: as of `train_step`.
        """
        self._network.prepared.refresh()
        last = len(self._network.segments) - 1
        batch = Pass(
            self._resources, self._network, x, step=step, offset=offset, exchange=self._exchange
        )
        batch.update_running = batch.has_backward = False
        self._forward_to(batch, last)
        self._team.run(batch.each_chunk(batch.abandon))
        return batch.statistics

    def attribution(self, node: int) -> Attribution:
        """What derives the classes' scores by the output of the node at that position."""
        graph = choose_paths(self.graph, self._kernels.name)
        return Attribution(graph, self.params, node, self._resources, self._team)

    def _forward_to(self, batch: Pass, last: int) -> None:
        """Forward through all segments before `last`, with their barriers."""
        for level in range(last):
            self._team.run(batch.each_chunk(partial(batch.forward, level)))
            batch.combine(level)

    def _share_gradients(self, batch: Pass, level: int) -> None:
        """Begin to sum the gradients of a segment, which are final, over all processes."""
        if self._exchange is None:
            return
        gradients = self._sums()
        part = gradients.parts[level]
        gradients.reduce_part(batch.busy, part)
        for place in part.slices:
            self._exchange.start_sum(gradients.sums[place])

    def _for_inference(self, params: Parameters) -> Network:
        """The shortened network of some parameters, up to date."""
        held = self._inference.get(id(params))
        if held is None:
            folded = FoldedNetwork(self.graph, params)
            tuned = tuned_graph(folded.graph, self._kernels.name)
            held = Network.open(tuned, folded.params, self._team, training=False), folded
            self._inference[id(params)] = held
        network, folded = held
        folded.refresh()
        network.prepared.refresh()
        return network

    def _sums(self) -> Gradients:
        if self._gradients is None:
            kind = Float64Gradients if self._resources.float64_sums else Gradients
            network = self._network
            self._gradients = kind(network.graph, self.params, self._team, network.segments)
            self._network = network.with_gradients(self._gradients)
        return self._gradients

    def _output(self, name: str, n: int) -> Array:
        """A (n, classes) array that is reused while batches do not grow."""
        held = self._outputs.get(name)
        if held is None or len(held) < n:
            held = self._outputs[name] = np.empty((n, self.graph.classes), self.dtype)
        return held[:n]


def _row(values: Array, width: int, dtype: DTypeLike) -> Array:
    """(c,) -> (w·c,)."""
    return np.tile(values, width).astype(dtype)
