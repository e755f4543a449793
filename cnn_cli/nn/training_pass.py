"""A pass of a batch that trains: barriers for batch normalization, and a backward pass.

Only batch normalization makes chunks wait for each other, at the barriers between segments. The
chunks' sums are combined in the order of the chunks: the same bits every time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.layers.batch import Partials, Statistics
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.nn.network import Network
from cnn_cli.nn.passes import Chunk, Pass, Resources, as_tuple
from cnn_cli.nn.plan import BatchStep, Step, chunks_multiple
from cnn_cli.nn.recompute import ONCE, Recompute, RecomputedPart
from cnn_cli.nn.types import Array, Arrays, Saved
from cnn_cli.structs import replace


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

    def _run_again(self, part: RecomputedPart, chunk: Chunk, run: RunContext) -> None:
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
