"""An engine that trains: forward, loss and backward of a batch, on all threads and processes.

In the last segment a chunk's backward pass immediately follows its forward pass. Only batch
normalization makes chunks wait for each other, at the barriers between segments.

The distribution of chunks depends on batch, shapes and thread count only, and sums are added in the
order of chunks and workers: the same bits every time. Networks that use each weight often give the
same bits for one, two and four threads or processes as well (`float64_sums`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from cnn_cli.nn.context import RunContext
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.float64_sums import Float64Gradients
from cnn_cli.nn.fuse import tuned_graph
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.layers.batch import Statistics
from cnn_cli.nn.loss import CROSS_ENTROPY, Loss
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk
from cnn_cli.nn.plan import Segment, frozen_prefix, uses_float64_sums
from cnn_cli.nn.recompute import ONCE, plan_recompute
from cnn_cli.nn.training_pass import TrainingPass
from cnn_cli.nn.types import Array, Shape
from cnn_cli.structs import Struct, replace


class Halves(Struct):
    """The network that `Engine.predict` runs, in two halves; the lower one is frozen.

    One after the other they compute the same bits for a batch as `Engine.predict` does.

    Attributes:
        shape: of the lower half's output for an image.
        lower: returns that output (n, *shape) of images (n, h, w, c).
        upper: returns logits (n, classes) of that output, overwritten by the next call.
    """

    shape: Shape
    lower: Callable[[Array], Array]
    upper: Callable[[Array], Array]


class TrainingEngine(Engine):
    """An engine with gradients.

    Args:
        graph: the network.
        params: its parameters; training reads them and writes running statistics.
        threads: number of workers.
        seed: seed of dropout.
        scale, shift, scale_floats, kernels: as in `Engine`.
        entry: the tensor that `train_step` receives instead of images: see `plan.frozen_prefix`.
        exchange: communication with the processes that share every batch of `train_step`; None for
            a single process.
        batch_size: batch size of the training, over all processes; determines how gradients are
            summed.
        loss: the loss function.
        recompute: recompute some activations to save memory, see `nn.recompute`.

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
        scale_floats: bool = False,
        kernels: Kernels = NUMPY,
        entry: int = IMAGE,
        exchange: Exchange | None = None,
        batch_size: int = 1,
        loss: Loss = CROSS_ENTROPY,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            graph,
            params,
            threads=threads,
            seed=seed,
            scale=scale,
            shift=shift,
            scale_floats=scale_floats,
            kernels=kernels,
        )
        self.entry = entry
        self.loss = loss
        self._exchange = exchange
        self._in_float64 = uses_float64_sums(graph, self.dtype.itemsize, batch_size)
        self._gradients: Gradients | None = None
        self._network = Network.open(
            tuned_graph(graph, kernels.name), params, self._team, training=True, entry=entry
        )
        self._recompute = ONCE
        if recompute:
            segments = self._network.segments
            self._recompute = plan_recompute(self._network.graph, segments, entry)

    def halves(self) -> Halves | None:
        """Cut the evaluation network where its frozen part ends; None if there is no such part."""
        network = self._for_inference(self.params)
        cut = frozen_prefix(network.graph)
        if cut == IMAGE:
            return None
        steps = network.segments[0].steps  # the only segment, in the order of the nodes
        below = replace(network, segments=(Segment(steps[: cut + 1], ()),))
        above = replace(network, segments=(Segment(steps[cut + 1 :], ()),), entry=cut)
        shape = network.graph.shape(cut)

        def lower(x: Array) -> Array:
            self._for_inference(self.params)
            features = np.empty((len(x), *shape), self.dtype)
            self._evaluate(below, x, features)
            return features

        def upper(features: Array) -> Array:
            self._for_inference(self.params)
            logits = self._output("logits", len(features))
            self._evaluate(above, features.copy(), logits)  # the first layer may work in place
            return logits

        return Halves(shape, lower, upper)

    @property
    def gradient(self) -> Array:
        return self._sums().flat[0]

    @property
    def gradient_is_finite(self) -> bool:
        """Whether all of `gradient` is finite."""
        return self._sums().finite

    @property
    def gradient_views(self) -> list[dict[str, Array]]:
        return self._sums().views[0]

    @property
    def nbytes(self) -> int:
        """Bytes of memory held for chunks and gradients."""
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
        """Run forward, loss and backward of a batch: fills `gradient`, updates running statistics.

        With an exchange, images and targets are this process's part of the batch, which may be
        empty; gradient and statistics are those of the whole batch.

        Args:
            x: (n, h, w, c), n at least 1; integers are scaled and shifted. Further images may
                follow, which `mix` uses as second images.
            targets, divisor: from `loss.target_weights`; the divisor is that of the whole batch.
            step: number of the step, for dropout.
            offset: position of the part's first image in the batch, for dropout.
            mix: how images are mixed, or None; the targets already include it.

        Returns:
            The part's summed loss over `divisor`, and logits (n, classes), overwritten by the next
            call.
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
            recompute=self._recompute,
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
            self.loss.forward(scores, targets[rows], losses[rows])
            dy = run.take(scores.shape)
            self.loss.backward(scores, targets[rows], divisor, dy)
            chunk.gradients[output] = dy
            batch.backward(last, chunk, run)

        self._trim(last)
        self._forward_to(batch, last)
        self._team.run(batch.each_chunk(turn))
        for level in reversed(range(last)):
            self._share_gradients(batch, level + 1)
            batch.combine_backward(level)
            self._trim(level)
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
        """Return the statistics of a batch at each batch layer, by node, without updating running
        ones.

        Args:
            x: (n, h, w, c); with an exchange, this process's part of the batch.
            step, offset: as in `train_step`.
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
            recompute=self._recompute,
            alike=self._in_float64,
        )
        batch.update_running = batch.has_backward = False
        self._forward_to(batch, last)
        self._team.run(batch.each_chunk(batch.abandon))
        return batch.statistics

    def _forward_to(self, batch: TrainingPass, last: int) -> None:
        """Run forward through all segments before `last`, with their barriers."""
        for level in range(last):
            self._team.run(batch.each_chunk(partial(batch.forward, level)))
            batch.combine(level)

    def _trim(self, level: int) -> None:
        """Free memory for the next part, before its second and before the first forward pass."""
        parts = self._recompute.parts
        if parts and (
            level == len(self._network.segments) - 1 or self._recompute.part_until(level)
        ):
            for workspace in self.workspaces:
                workspace.trim()

    def _share_gradients(self, batch: TrainingPass, level: int) -> None:
        """Start summing the gradients of a segment, which are final, over all processes."""
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
            self._network = self._gradients.attached_to(network)
        return self._gradients
