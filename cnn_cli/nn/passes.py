"""One pass of a batch through the network: segment by segment, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_cli.nn.chunk import Chunk, as_tuple, inputs_of, share_chunks
from cnn_cli.nn.context import Context
from cnn_cli.nn.exchange import Exchange
from cnn_cli.nn.gradients import Gradients
from cnn_cli.nn.graph import Node
from cnn_cli.nn.kernels.backend import Kernels
from cnn_cli.nn.layers.batch import BatchLayer, Partials, waits_for_batch
from cnn_cli.nn.mix import Mix, blend
from cnn_cli.nn.network import Network
from cnn_cli.nn.plan import Step, chunk_bounds, chunks_multiple
from cnn_cli.nn.types import Array
from cnn_cli.nn.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Workshop:
    """What an engine lends to every pass.

    Attributes:
        workspaces: one a worker.
        images_per_chunk: how many go through the network together.
        seed: of dropout.
        scale, shift: of a row of pixels, (w·c,), since three channels make a slow inner loop:
            images of integers become ``x * scale + shift``.
        kernels: what layers compute with.
        wide: chunks of training are the same for several numbers of threads and processes.
    """

    workspaces: list[Workspace]
    images_per_chunk: int
    seed: int
    scale: Array
    shift: Array
    kernels: Kernels
    wide: bool = False


class Pass:
    """One pass of a batch: its chunks, and what was found at the barriers.

    Args:
        x: the images; with a mix there may be more than `n`, which are second images only.
        n: how many the batch has, or this process's share of it; by default all of `x`.
        first: place in the batch of the share's first image.
        exchange: with the processes that have the other shares.

    Attributes:
        update_running: batch layers move their running statistics.
        goes_back: a backward pass follows, for which layers save what they need.
    """

    def __init__(
        self,
        workshop: Workshop,
        network: Network,
        x: Array,
        *,
        n: int | None = None,
        first: int = 0,
        step: int = 0,
        gradients: Gradients | None = None,
        mix: Mix | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self.workshop = workshop
        self.network = network
        self.x = x
        self.first = first
        self.step = step
        self.gradients = gradients
        self.mix = mix
        self.exchange = exchange
        self.update_running = True
        self.goes_back = True
        self.statistics: dict[int, Any] = {}
        self.sums: dict[int, Any] = {}
        workers = len(workshop.workspaces)
        n = len(x) if n is None else n
        processes = 1 if exchange is None else exchange.size
        alike = workshop.wide and network.training
        multiple = chunks_multiple(workers, processes, alike=alike)
        bounds = chunk_bounds(n, workshop.images_per_chunk, multiple)
        self._shares = share_chunks(bounds, workers)
        # By batch layer and by a chunk's start; made here, because workers fill it together.
        self._partials: dict[int, dict[int, Array]] = {
            node.index: {} for segment in network.segments for node in segment.barriers
        }

    @property
    def busy(self) -> int:
        """Workers that have a chunk; they are the first ones."""
        return sum(bool(chunks) for chunks in self._shares)

    def each_chunk(self, act: Callable[[Chunk, Context], None]) -> Callable[[int], None]:
        """A job for the team: `act` on each of a worker's chunks."""

        def work(worker: int) -> None:
            for chunk in self._shares[worker]:
                act(chunk, self.context(worker, chunk))
                if worker == 0 and self.exchange is not None:
                    self.exchange.keep_going()

        return work

    def context(self, worker: int, chunk: Chunk) -> Context:
        sums = self.gradients
        return Context(
            workspace=self.workshop.workspaces[worker],
            training=self.network.training and not self.network.frozen,
            seed=self.workshop.seed,
            step=self.step,
            start=self.first + chunk.start,
            dtype=self.network.params.dtype,
            kernels=self.workshop.kernels,
            fresh=chunk.fresh or (sums is not None and sums.wide),
            worker_grads=None if sums is None else sums.views[worker],
            worker_prepared_grads=None if sums is None else sums.prepared[worker],
        )

    def _enter(self, chunk: Chunk, ctx: Context) -> None:
        """Lay the chunk's images out as the first nodes read them."""
        x = self.x[chunk.start : chunk.stop]
        if self.mix is not None:
            mix = self.mix.rows(chunk.start, chunk.stop)
            x = self._scaled(x, ctx)
            others = self._scaled(self.x[mix.partners], ctx)
            blend(x, others, mix)
            ctx.workspace.give(others)
        elif x.dtype.kind in "ui":
            x = self._scaled(x, ctx)
        chunk.hold(self.network.start, x)

    def _scaled(self, x: Array, ctx: Context) -> Array:
        """A copy of images in the network's numbers; integers are scaled and shifted."""
        images = ctx.take(x.shape)
        if x.dtype.kind not in "ui":
            images[...] = x
            return images
        rows = images.reshape(-1, self.workshop.scale.size)
        np.multiply(x.reshape(rows.shape), self.workshop.scale, out=rows)
        rows += self.workshop.shift
        return images

    def forward(self, level: int, chunk: Chunk, ctx: Context) -> None:
        """Take a chunk through a segment, and sum up what its barriers need."""
        if level == 0:
            self._enter(chunk, ctx)
        segment = self.network.segments[level]
        for step in segment.steps:
            node = step.node
            self._point(ctx, step)
            y, saved = node.layer.forward(inputs_of(chunk, node), ctx)
            chunk.hold(node.index, y)
            if step.goes_back:
                chunk.saved[node.index] = saved
            else:
                chunk.give_saved(saved, ctx.workspace)
            chunk.release(step.release, ctx.workspace)
        for node in segment.barriers:
            layer = node.layer
            assert isinstance(layer, BatchLayer)
            sums = layer.partial(chunk.values[node.inputs[0]], ctx)
            self._keep_partial(node, chunk, sums)

    def combine(self, level: int) -> None:
        """At the barrier after a segment: the batch's statistics from the chunks'."""
        nodes = self.network.segments[level].barriers
        for node, partials in zip(nodes, self._everywhere(nodes, backward=False), strict=True):
            layer = node.layer
            assert isinstance(layer, BatchLayer)
            statistics = layer.combine(partials)
            self.statistics[node.index] = statistics
            if self.update_running:
                layer.update_running(statistics, self.network.params.buffer_views[node.index])

    def backward(self, level: int, chunk: Chunk, ctx: Context) -> None:
        """Take a chunk's gradients back through a segment.

        First come the batch layers whose output lies behind the barrier, then the segment's own
        nodes; a batch layer among those is summed up and waits for the barrier before it.
        """
        for node in reversed(self.network.segments[level].barriers):
            step = self._steps_of(level + 1)[node.index]
            self._point(ctx, step)
            ctx.sums = self.sums[node.index]
            self._backward_node(step, chunk, ctx)
        for step in reversed(self.network.segments[level].steps):
            node = step.node
            if not step.goes_back:
                continue
            self._point(ctx, step)
            if waits_for_batch(node.layer):
                dy = chunk.gradients[node.index]
                sums = node.layer.backward_partial(dy, chunk.saved[node.index], ctx)
                self._keep_partial(node, chunk, sums)
            else:
                self._backward_node(step, chunk, ctx)
        if self.gradients is not None:
            self.gradients.keep(chunk, level)

    def combine_backward(self, level: int) -> None:
        """At the barrier before the next segment back: the batch's sums from the chunks'."""
        nodes = self.network.segments[level].barriers
        for node, partials in zip(nodes, self._everywhere(nodes, backward=True), strict=True):
            layer = node.layer
            assert isinstance(layer, BatchLayer)
            self.sums[node.index] = layer.combine_backward(partials)

    def _everywhere(self, nodes: Sequence[Node], *, backward: bool) -> Sequence[Partials]:
        """For each batch layer at a barrier what is to be combined: the chunks' partial results,
        or, where the batch is shared with other processes, each process's of its own chunks.
        """
        own = [self._in_order(node) for node in nodes]
        if self.exchange is None or not nodes:
            return own
        together = []
        for node, partials in zip(nodes, own, strict=True):
            layer = node.layer
            assert isinstance(layer, BatchLayer)
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

    def abandon(self, chunk: Chunk, ctx: Context) -> None:
        """Give back all that a chunk holds, without a backward pass."""
        for node in self.network.graph.nodes:
            if node.index in chunk.saved:
                chunk.give_saved(chunk.saved.pop(node.index), ctx.workspace)
        chunk.release(list(chunk.values), ctx.workspace)

    def _backward_node(self, step: Step, chunk: Chunk, ctx: Context) -> None:
        node = step.node
        dy = chunk.gradients.pop(node.index)
        saved = chunk.saved.pop(node.index)
        dx = node.layer.backward(dy, saved, ctx)
        kept = False
        for tensor, gradient in zip(node.inputs, as_tuple(dx), strict=False):
            if tensor not in step.wanted:
                if gradient is not None and gradient.base is not dy.base:
                    ctx.workspace.give(gradient)
                continue
            kept |= gradient.base is dy.base
            chunk.add_gradient(tensor, gradient, ctx.workspace)
        if not kept:
            ctx.workspace.give(dy)
        chunk.give_saved(saved, ctx.workspace)
        chunk.release(step.release_backward, ctx.workspace)

    def _point(self, ctx: Context, step: Step) -> None:
        """Show a context the node whose turn it is."""
        index = step.node.index
        ctx.layer_index = index
        ctx.params = self.network.params.views[index]
        ctx.buffers = self.network.params.buffer_views[index]
        ctx.inplace = step.inplace
        ctx.need_dx = bool(step.wanted)
        ctx.need_saved = self.goes_back and step.goes_back
        ctx.statistics = self.statistics.get(index)
        if ctx.worker_grads is not None:
            ctx.grads = ctx.worker_grads[index]
        if step.node.layer.prepared is not None:
            ctx.prepared = self.network.prepared.arrays[index]
            if ctx.worker_prepared_grads is not None:
                ctx.prepared_grad = ctx.worker_prepared_grads[index]

    def _steps_of(self, level: int) -> dict[int, Step]:
        return {step.node.index: step for step in self.network.segments[level].steps}

    def _keep_partial(self, node: Node, chunk: Chunk, sums: Array) -> None:
        self._partials[node.index][chunk.start] = sums

    def _in_order(self, node: Node) -> list[Array]:
        partials = self._partials[node.index]
        in_order = [partials[start] for start in sorted(partials)]
        partials.clear()
        return in_order
