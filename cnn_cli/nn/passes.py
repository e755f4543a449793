"""One pass of a batch through the network: segment by segment, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.chunk import Chunk, as_tuple, inputs_of, share_chunks
from cnn_cli.nn.context import RunContext
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.kernels.backend import Kernels
from cnn_cli.nn.layers.batch import Partials, Statistics
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.nn.network import Network
from cnn_cli.nn.plan import BatchStep, Step, chunk_bounds, chunks_multiple
from cnn_cli.nn.types import Array, Arrays, Saved
from cnn_cli.nn.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Resources:
    """What an engine lends to every pass.

    Attributes:
        workspaces: one a worker.
        images_per_chunk: how many go through the network together.
        seed: of dropout.
        scale, shift: of a row of pixels, (w·c,), since three channels make a slow inner loop:
            images of integers become ``x * scale + shift``.
        kernels: what layers compute with.
        float64_sums: chunks of training are the same for several numbers of threads and processes.
    """

    workspaces: list[Workspace]
    images_per_chunk: int
    seed: int
    scale: Array
    shift: Array
    kernels: Kernels
    float64_sums: bool = False


class Pass:
    """One pass of a batch: its chunks, and what was found at the barriers.

    Args:
        x: the images; with a mix there may be more than `n`, which are second images only.
        n: how many the batch has, or this process's share of it; by default all of `x`.
        offset: place in the batch of the share's first image.
        exchange: with the processes that have the other shares.

    Attributes:
        update_running: batch layers move their running statistics.
        has_backward: a backward pass follows, for which layers save what they need.
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
    ) -> None:
        self.resources = resources
        self.network = network
        self.x = x
        self.offset = offset
        self.step = step
        self.gradients = gradients
        self.mix = mix
        self.exchange = exchange
        self.update_running = True
        self.has_backward = True
        self.statistics: dict[int, Statistics] = {}
        self.sums: dict[int, Array] = {}
        workers = len(resources.workspaces)
        n = len(x) if n is None else n
        processes = 1 if exchange is None else exchange.size
        alike = resources.float64_sums and network.training
        multiple = chunks_multiple(workers, processes, alike=alike)
        bounds = chunk_bounds(n, resources.images_per_chunk, multiple)
        self._shares = share_chunks(bounds, workers)
        # By batch layer and by a chunk's start; made here, because workers fill it together.
        self._partials: dict[int, dict[int, Array]] = {
            step.node.index: {} for segment in network.segments for step in segment.barriers
        }

    @property
    def busy(self) -> int:
        """Workers that have a chunk; they are the first ones."""
        return sum(bool(chunks) for chunks in self._shares)

    def each_chunk(self, act: Callable[[Chunk, RunContext], None]) -> Callable[[int], None]:
        """A job for the team: `act` on each of a worker's chunks."""

        def work(worker: int) -> None:
            for chunk in self._shares[worker]:
                act(chunk, self.context(worker, chunk))
                if worker == 0 and self.exchange is not None:
                    self.exchange.keep_going()

        return work

    def context(self, worker: int, chunk: Chunk) -> RunContext:
        sums = self.gradients
        return RunContext(
            workspace=self.resources.workspaces[worker],
            kernels=self.resources.kernels,
            dtype=self.network.params.dtype,
            training=self.network.training and not self.network.running_stats,
            seed=self.resources.seed,
            step=self.step,
            offset=self.offset + chunk.start,
            fresh=chunk.fresh or (sums is not None and sums.in_float64),
            need_saved=self.has_backward,
        )

    def _enter(self, chunk: Chunk, run: RunContext) -> None:
        """Lay the chunk's images out as the first nodes read them."""
        x = self.x[chunk.start : chunk.stop]
        if self.mix is not None:
            mix = self.mix.rows(chunk.start, chunk.stop)
            x = self._scaled(x, run)
            others = self._scaled(self.x[mix.partners], run)
            blend(x, others, mix)
            run.workspace.give(others)
        elif x.dtype.kind in "ui":
            x = self._scaled(x, run)
        chunk.hold(self.network.entry, x)

    def _scaled(self, x: Array, run: RunContext) -> Array:
        """A copy of images in the network's numbers; integers are scaled and shifted."""
        images = run.take(x.shape)
        if x.dtype.kind not in "ui":
            images[...] = x
            return images
        rows = images.reshape(-1, self.resources.scale.size)
        np.multiply(x.reshape(rows.shape), self.resources.scale, out=rows)
        rows += self.resources.shift
        return images

    def forward(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk through a segment, and sum up what its barriers need."""
        if level == 0:
            self._enter(chunk, run)
        contexts = self.network.contexts[chunk.worker]
        segment = self.network.segments[level]
        for step in segment.steps:
            index = step.node.index
            saved: Saved
            if isinstance(step, BatchStep):
                x = chunk.values[step.node.inputs[0]]
                statistics = self.statistics[index]
                y, saved = step.layer.forward_batch(x, statistics, contexts[index], run)
            else:
                inputs = inputs_of(chunk, step.node)
                y, saved = step.node.layer.forward(inputs, contexts[index], run)
            chunk.hold(index, y)
            if step.has_backward:
                chunk.saved[index] = saved
            else:
                chunk.give_saved(saved, run.workspace)
            chunk.release(step.release, run.workspace)
        for barrier in segment.barriers:
            sums = barrier.layer.partial(chunk.values[barrier.node.inputs[0]], run)
            self._keep_partial(barrier, chunk, sums)

    def combine(self, level: int) -> None:
        """At the barrier after a segment: the batch's statistics from the chunks'."""
        steps = self.network.segments[level].barriers
        for step, partials in zip(steps, self._everywhere(steps, backward=False), strict=True):
            index = step.node.index
            self.statistics[index] = step.layer.combine(partials)
            if self.update_running:
                buffers = self.network.params.buffer_views[index]
                step.layer.update_running(self.statistics[index], buffers)

    def backward(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk's gradients back through a segment.

        First come the batch layers whose output lies behind the barrier, then the segment's own
        nodes; a batch layer among those is summed up and waits for the barrier before it.
        """
        contexts = self.network.contexts[chunk.worker]
        for barrier in reversed(self.network.segments[level].barriers):
            self._backward_node(barrier, chunk, run)
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
        """At the barrier before the next segment back: the batch's sums from the chunks'."""
        steps = self.network.segments[level].barriers
        for step, partials in zip(steps, self._everywhere(steps, backward=True), strict=True):
            self.sums[step.node.index] = step.layer.combine_backward(partials)

    def _everywhere(self, steps: Sequence[BatchStep], *, backward: bool) -> Sequence[Partials]:
        """For each batch layer at a barrier what is to be combined: the chunks' partial results,
        or, where the batch is shared with other processes, each process's of its own chunks.
        """
        own = [self._in_order(step) for step in steps]
        if self.exchange is None or not steps:
            return own
        together = []
        for step, partials in zip(steps, own, strict=True):
            layer = step.layer
            if not partials:  # no image of the batch is this process's
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
        """Give back all that a chunk holds, without a backward pass."""
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
