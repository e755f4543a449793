"""An engine that trains: forward, loss and backward of a batch, on all threads and processes.

In the last segment a chunk's backward pass immediately follows its forward pass. Only batch
normalization makes chunks wait for each other, at the barriers between segments.

The distribution of chunks depends on batch, shapes and thread count only, and sums are added in the
order of chunks and workers: the same bits every time. Networks that use each weight often give the
same bits for one, two and four threads or processes as well (`float64_sums`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.engine import Engine
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.float64_sums import Float64Gradients
from cnn_cli.nn.fuse import tuned_graph
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import IMAGE, Graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.layers.batch import Partials, Statistics
from cnn_cli.nn.loss import CROSS_ENTROPY, Loss
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.nn.network import Network
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.passes import Chunk, Pass, Resources, as_tuple
from cnn_cli.nn.plan import (
    BatchStep,
    Segment,
    Step,
    chunks_multiple,
    frozen_prefix,
    uses_float64_sums,
)
from cnn_cli.nn.recompute import ONCE, Part, Recompute, plan_recompute
from cnn_cli.nn.types import Array, Arrays, Saved, Shape
from cnn_cli.structs import Struct, replace


class TrainingPass(Pass):
    """A pass with barriers between chunks and with a backward pass.

    Args:
        x: the images; with a mix, images beyond `n` are second images only.
        n: number of images of the batch, or of this process's part; by default all of `x`.
        offset: position in the batch of the part's first image.
        step: number of the step.
        gradients: where gradients are accumulated.
        mix: how images are mixed, or None.
        exchange: communication with the processes that have the other parts.
        recompute: segments that run forward again before their backward pass.
        alike: divide the batch into the same chunks for several numbers of threads and processes.

    Attributes:
        update_running: batch layers update their running statistics.
        has_backward: a backward pass follows, for which layers save what they need.
        statistics, sums: of the batch, for each batch layer, by node.
    """

    def __init__(
        self,
        resources: Resources,
        network: Network,
        x: Array,
        *,
        n: int | None = None,
        offset: int = 0,
        step: int = 0,
        gradients: Gradients | None = None,
        mix: Mix | None = None,
        exchange: Exchange | None = None,
        recompute: Recompute = ONCE,
        alike: bool = False,
    ) -> None:
        processes = 1 if exchange is None else exchange.size
        multiple = chunks_multiple(len(resources.workspaces), processes, alike=alike)
        super().__init__(resources, network, x, n=n, multiple=multiple)
        self.offset = offset
        self.step = step
        self.gradients = gradients
        self.mix = mix
        self.exchange = exchange
        self.recompute = recompute
        self.update_running = True
        self.has_backward = True
        self.statistics: dict[int, Statistics] = {}
        self.sums: dict[int, Array] = {}
        # By batch layer and chunk start; created here, because workers fill it concurrently.
        self._partials: dict[int, dict[int, Array]] = {
            step.node.index: {} for segment in network.segments for step in segment.barriers
        }

    def context(self, worker: int, chunk: Chunk) -> RunContext:
        sums = self.gradients
        return RunContext(
            workspace=self.resources.workspaces[worker],
            kernels=self.resources.kernels,
            dtype=self.network.params.dtype,
            training=not self.network.running_stats,
            seed=self.resources.seed,
            step=self.step,
            offset=self.offset + chunk.start,
            fresh=chunk.fresh or (sums is not None and sums.in_float64),
            need_saved=self.has_backward,
        )

    def _after_chunk(self, worker: int) -> None:
        if worker == 0 and self.exchange is not None:
            self.exchange.keep_going()

    def _enter(self, chunk: Chunk, run: RunContext) -> None:
        if self.mix is None:
            super()._enter(chunk, run)
            return
        mix = self.mix.rows(chunk.start, chunk.stop)
        x = self._scaled(self.x[chunk.start : chunk.stop], run)
        others = self._scaled(self.x[mix.partners], run)
        blend(x, others, mix)
        run.workspace.give(others)
        chunk.hold(self.network.entry, x, run.workspace)

    def _output(
        self, step: Step, chunk: Chunk, context: NodeContext, run: RunContext
    ) -> tuple[Array, Saved]:
        if not isinstance(step, BatchStep):
            return super()._output(step, chunk, context, run)
        x = chunk.values[step.node.inputs[0]]
        return step.layer.forward_batch(x, self.statistics[step.node.index], context, run)

    def forward(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk through a segment, and compute the sums for its barriers."""
        if level < self.recompute.once:
            self._pass_by(level, chunk, run)
        else:
            super().forward(level, chunk, run)
        for barrier in self.network.segments[level].barriers:
            sums = barrier.layer.partial(chunk.values[barrier.node.inputs[0]], run)
            self._keep_partial(barrier, chunk, sums)

    def _pass_by(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk through a segment that runs again: keep only what crosses the next cut."""
        run = replace(run, need_saved=False)
        if level == 0:
            self._enter(chunk, run)
        for step in self.network.segments[level].steps:
            release = self.recompute.release[step.node.index]
            self._forward_node(step, chunk, run, release, save=False)

    def _run_again(self, part: Part, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk through a part a second time, for its backward pass."""
        for level in range(part.first, part.last + 1):
            super().forward(level, chunk, run)
        chunk.release(part.leftover, run.workspace)

    def combine(self, level: int) -> None:
        """At the barrier after a segment, combine the chunks' statistics."""
        steps = self.network.segments[level].barriers
        for step, partials in zip(steps, self._everywhere(steps, backward=False), strict=True):
            index = step.node.index
            self.statistics[index] = step.layer.combine(partials)
            if self.update_running:
                buffers = self.network.params.buffer_views[index]
                step.layer.update_running(self.statistics[index], buffers)

    def backward(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Propagate a chunk's gradients back through a segment.

        First come the batch layers whose output lies beyond the barrier, then the segment's own
        nodes; for a batch layer among those, sums are computed, and it waits for the previous
        barrier.
        """
        contexts = self.network.contexts[chunk.worker]
        for barrier in reversed(self.network.segments[level].barriers):
            self._backward_node(barrier, chunk, run)
        part = self.recompute.part_until(level)
        if part is not None:
            self._run_again(part, chunk, run)
        for step in reversed(self.network.segments[level].steps):
            if not step.has_backward:
                continue
            if isinstance(step, BatchStep):
                index = step.node.index
                sums = step.layer.backward_partial(
                    chunk.gradients[index],
                    chunk.saved[index],
                    self.statistics[index],
                    contexts[index],
                    run,
                )
                self._keep_partial(step, chunk, sums)
            else:
                self._backward_node(step, chunk, run)
        if self.gradients is not None:
            self.gradients.keep(chunk, level)

    def combine_backward(self, level: int) -> None:
        """At the barrier before the previous segment, combine the chunks' sums."""
        steps = self.network.segments[level].barriers
        for step, partials in zip(steps, self._everywhere(steps, backward=True), strict=True):
            self.sums[step.node.index] = step.layer.combine_backward(partials)

    def _everywhere(self, steps: Sequence[BatchStep], *, backward: bool) -> Sequence[Partials]:
        """Return what to combine for each batch layer at a barrier: the chunks' partial results or,
        if other processes share the batch, each process's combined result.
        """
        own = [self._in_order(step) for step in steps]
        if self.exchange is None or not steps:
            return own
        together = []
        for step, partials in zip(steps, own, strict=True):
            layer = step.layer
            if not partials:  # this process has no image of the batch
                together.append(np.zeros((2 if backward else 3, layer.out_shape[-1])))
            elif backward:
                together.append(layer.combine_backward(partials))
            else:
                together.append(layer.combine(partials).as_partial())
        ends = np.cumsum([each.shape[1] for each in together])[:-1]
        gathered = self.exchange.gather(np.concatenate(together, axis=1))
        if not backward:
            gathered = gathered[gathered[:, 0, 0] > 0]  # of processes that had an image
        return np.split(gathered, ends, axis=2)

    def abandon(self, chunk: Chunk, run: RunContext) -> None:
        """Give back all memory of a chunk, without a backward pass."""
        for node in self.network.graph.nodes:
            if node.index in chunk.saved:
                chunk.give_saved(chunk.saved.pop(node.index), run.workspace)
        chunk.release(list(chunk.values), run.workspace)

    def _backward_node(self, step: Step, chunk: Chunk, run: RunContext) -> None:
        node = step.node
        context = self.network.contexts[chunk.worker][node.index]
        dy = chunk.gradients.pop(node.index)
        saved = chunk.saved.pop(node.index)
        dx: Array | Arrays | None
        if isinstance(step, BatchStep):
            statistics, sums = self.statistics[node.index], self.sums[node.index]
            dx = step.layer.backward_batch(dy, saved, statistics, sums, context, run)
        else:
            dx = node.layer.backward(dy, saved, context, run)
        kept = False
        for tensor, gradient in zip(node.inputs, as_tuple(dx), strict=False):
            if tensor not in step.requires_grad:
                if gradient.base is not dy.base:
                    run.workspace.give(gradient)
                continue
            kept |= gradient.base is dy.base
            chunk.add_gradient(tensor, gradient, run.workspace)
        if not kept:
            run.workspace.give(dy)
        chunk.give_saved(saved, run.workspace)
        chunk.release(step.release_backward, run.workspace)

    def _keep_partial(self, step: BatchStep, chunk: Chunk, sums: Array) -> None:
        self._partials[step.node.index][chunk.start] = sums

    def _in_order(self, step: BatchStep) -> list[Array]:
        partials = self._partials[step.node.index]
        in_order = [partials[start] for start in sorted(partials)]
        partials.clear()
        return in_order


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
            self._network = network.with_gradients(self._gradients)
        return self._gradients
