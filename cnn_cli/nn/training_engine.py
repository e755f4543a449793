"""An engine that trains: forward, loss and backward of a batch, on all threads and processes.

In the last segment a chunk's backward pass follows its forward pass at once. Only batch
normalization makes chunks wait for each other, at the barriers between segments.

Which chunk goes where depends on batch, shapes and thread count only, and sums are added in the
order of chunks and workers: the same bits every time. For networks that use each weight often
they are the same for one, two and four threads or processes as well (`float64_sums`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from cnn_cli.nn.chunk import Chunk
from cnn_cli.nn.context import RunContext
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.float64_sums import Float64Gradients
from cnn_cli.nn.fuse import tuned_graph
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.backend import NUMPY, Kernels
from cnn_cli.nn.layers.batch import Statistics
from cnn_cli.nn.loss import cross_entropy, cross_entropy_gradient
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.plan import uses_float64_sums
from cnn_cli.nn.training_pass import TrainingPass
from cnn_cli.nn.types import Array


class TrainingEngine(Engine):
    """An engine with gradients.

    Args:
        graph: the network.
        params: its parameters; training reads them and writes running statistics.
        threads: how many workers.
        seed: of dropout.
        scale, shift, kernels: as of `Engine`.
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
        super().__init__(
            graph, params, threads=threads, seed=seed, scale=scale, shift=shift, kernels=kernels
        )
        self.entry = entry
        self._exchange = exchange
        self._in_float64 = uses_float64_sums(graph, self.dtype.itemsize, batch_size)
        self._gradients: Gradients | None = None
        self._network = Network.open(
            tuned_graph(graph, kernels.name), params, self._team, training=True, entry=entry
        )

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
        return super().nbytes + (0 if self._gradients is None else self._gradients.nbytes)

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
        batch = TrainingPass(
            self._resources,
            self._network,
            x,
            n=n,
            offset=offset,
            step=step,
            gradients=sums,
            mix=mix,
            exchange=self._exchange,
            alike=self._in_float64,
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
        batch = TrainingPass(
            self._resources,
            self._network,
            x,
            step=step,
            offset=offset,
            exchange=self._exchange,
            alike=self._in_float64,
        )
        batch.update_running = batch.has_backward = False
        self._forward_to(batch, last)
        self._team.run(batch.each_chunk(batch.abandon))
        return batch.statistics

    def _forward_to(self, batch: TrainingPass, last: int) -> None:
        """Forward through all segments before `last`, with their barriers."""
        for level in range(last):
            self._team.run(batch.each_chunk(partial(batch.forward, level)))
            batch.combine(level)

    def _share_gradients(self, batch: TrainingPass, level: int) -> None:
        """Begin to sum the gradients of a segment, which are final, over all processes."""
        if self._exchange is None:
            return
        gradients = self._sums()
        part = gradients.parts[level]
        gradients.reduce_part(batch.busy, part)
        for place in part.slices:
            self._exchange.start_sum(gradients.sums[place])

    def _sums(self) -> Gradients:
        if self._gradients is None:
            kind = Float64Gradients if self._in_float64 else Gradients
            network = self._network
            self._gradients = kind(network.graph, self.params, self._team, network.segments)
            self._network = network.with_gradients(self._gradients)
        return self._gradients
