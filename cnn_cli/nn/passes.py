"""One pass of a batch through the network: chunks of a few images, segment by segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from cnn_cli.nn.context import NodeContext, RunContext, Workspace
from cnn_cli.nn.graph import IMAGE, Node
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.network import Network
from cnn_cli.nn.plan import Step, chunk_bounds
from cnn_cli.nn.types import Array, Arrays, Saved, Share, whole
from cnn_cli.structs import Struct


class Chunk:
    """Some images of a batch, and what is computed of them so far.

    Attributes:
        start, stop: their positions in the batch.
        worker: the worker that processes them.
        fresh: it is the first of its worker in this step, so gradients are written, not added.
        values: tensors by number, as long as they are needed.
        holders: number of tensors in one memory block, by the id of its base.
        saved: by node, what its backward needs: `Saved`, of a type that the layer knows.
        gradients: of tensors, as far as summed.
    """

    def __init__(self, start: int, stop: int, worker: int, *, fresh: bool) -> None:
        self.start, self.stop = start, stop
        self.worker = worker
        self.fresh = fresh
        self.values: dict[int, Array] = {}
        self.holders: dict[int, int] = {}
        self.saved: dict[int, Any] = {}
        self.gradients: dict[int, Array] = {}

    def hold(self, tensor: int, array: Array, workspace: Workspace) -> None:
        """Set a tensor's value, replacing an earlier one."""
        if tensor in self.values:
            self.release((tensor,), workspace)
        self.values[tensor] = array
        key = id(array.base)
        self.holders[key] = self.holders.get(key, 0) + 1

    def release(self, tensors: Iterable[int], workspace: Workspace) -> None:
        """Drop tensors, and give their memory back unless another tensor lies in it."""
        for tensor in tensors:
            array = self.values.pop(tensor)
            key = id(array.base)
            self.holders[key] -= 1
            if self.holders[key] == 0:
                del self.holders[key]
                if workspace.owns(array):
                    workspace.give(array)

    def give_saved(self, saved: Saved, workspace: Workspace) -> None:
        """Give back what a layer saved, except tensors."""
        for array in as_tuple(saved):
            if id(array.base) not in self.holders and workspace.owns(array):
                workspace.give(array)

    def add_gradient(self, tensor: int, gradient: Array, workspace: Workspace) -> None:
        """Add to a tensor's gradient; takes ownership of `gradient`."""
        so_far = self.gradients.get(tensor)
        if so_far is None:
            self.gradients[tensor] = gradient
        else:
            so_far += gradient
            workspace.give(gradient)


def share_chunks(bounds: list[tuple[int, int]], workers: int) -> list[list[Chunk]]:
    """Distribute chunks: each worker gets consecutive ones."""
    shares: list[list[Chunk]] = [[] for _ in range(workers)]
    for i, (start, stop) in enumerate(bounds):
        worker = i * workers // len(bounds) if len(bounds) >= workers else i
        shares[worker].append(Chunk(start, stop, worker, fresh=not shares[worker]))
    return shares


def inputs_of(chunk: Chunk, node: Node) -> Array | Arrays:
    """Return what a layer's `forward` reads: its input, or a tuple of several."""
    if len(node.inputs) == 1 and not node.layer.takes_tuple:
        return chunk.values[node.inputs[0]]
    return tuple(chunk.values[tensor] for tensor in node.inputs)


def as_tuple(value: Array | Arrays | None) -> Arrays:
    """Return one array, several, or none, as a tuple."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


class Resources(Struct):
    """What an engine lends to every pass.

    Attributes:
        workspaces: one per worker.
        images_per_chunk: number of images per chunk.
        seed: seed of dropout.
        scale, shift: for a row of pixels, (w·c,), since three channels make a slow inner loop:
            integer images become ``x * scale + shift``.
        scale_floats: float images too; never features, which are not images.
        kernels: the kernels.
    """

    workspaces: list[Workspace]
    images_per_chunk: int
    seed: int
    scale: Array
    shift: Array
    scale_floats: bool
    kernels: Kernels


class Pass:
    """A forward pass of a batch.

    Args:
        resources: the engine's resources.
        network: the network.
        x: the images.
        n: number of images in the batch; by default all.
        multiple: the number of chunks is a multiple of it; by default of the number of workers.

    Attributes:
        share: shares a layer's work with workers that have no chunk.
    """

    def __init__(
        self,
        resources: Resources,
        network: Network,
        x: Array,
        *,
        n: int | None = None,
        multiple: int | None = None,
    ) -> None:
        self.resources = resources
        self.network = network
        self.x = x
        workers = len(resources.workspaces)
        bounds = chunk_bounds(
            len(x) if n is None else n, resources.images_per_chunk, multiple or workers
        )
        self._shares = share_chunks(bounds, workers)
        self.share: Share = whole

    @property
    def busy(self) -> int:
        """Number of workers with chunks; these are the first ones."""
        return sum(bool(chunks) for chunks in self._shares)

    def each_chunk(self, act: Callable[[Chunk, RunContext], None]) -> Callable[[int], None]:
        """Return a job for the team: `act` on each of a worker's chunks."""

        def work(worker: int) -> None:
            for chunk in self._shares[worker]:
                act(chunk, self.context(worker, chunk))
                self._after_chunk(worker)

        return work

    def _after_chunk(self, worker: int) -> None:
        """Called when a worker has finished a chunk."""

    def context(self, worker: int, chunk: Chunk) -> RunContext:
        return RunContext(
            workspace=self.resources.workspaces[worker],
            kernels=self.resources.kernels,
            dtype=self.network.params.dtype,
            training=False,
            seed=self.resources.seed,
            offset=chunk.start,
            fresh=chunk.fresh,
            need_saved=False,
            share=self.share,
        )

    def forward(self, level: int, chunk: Chunk, run: RunContext) -> None:
        """Take a chunk through a segment."""
        if level == 0:
            self._enter(chunk, run)
        for step in self.network.segments[level].steps:
            self._forward_node(step, chunk, run, step.release, save=step.has_backward)

    def _forward_node(
        self, step: Step, chunk: Chunk, run: RunContext, release: Iterable[int], *, save: bool
    ) -> None:
        """Run one node; then `release` tensors. `save` tells whether to keep what it saves."""
        index = step.node.index
        context = self.network.contexts[chunk.worker][index]
        y, saved = self._output(step, chunk, context, run)
        chunk.hold(index, y, run.workspace)
        if save:
            chunk.saved[index] = saved
        else:
            chunk.give_saved(saved, run.workspace)
        chunk.release(release, run.workspace)

    def _output(
        self, step: Step, chunk: Chunk, context: NodeContext, run: RunContext
    ) -> tuple[Array, Saved]:
        """Return a layer's output for a chunk, and what its backward needs."""
        return step.node.layer.forward(inputs_of(chunk, step.node), context, run)

    def _enter(self, chunk: Chunk, run: RunContext) -> None:
        """Convert the chunk's images to the form that the first nodes read."""
        x = self.x[chunk.start : chunk.stop]
        if self._has_pixels:
            x = self._scaled(x, run)
        chunk.hold(self.network.entry, x, run.workspace)

    @property
    def _has_pixels(self) -> bool:
        """Whether the input is scaled and shifted."""
        is_image = self.network.entry == IMAGE
        return self.x.dtype.kind in "ui" or (self.resources.scale_floats and is_image)

    def _scaled(self, x: Array, run: RunContext) -> Array:
        """Copy images to the network's dtype; pixels are scaled and shifted."""
        images = run.take(x.shape)
        if not self._has_pixels:
            images[...] = x
            return images
        rows = images.reshape(-1, self.resources.scale.size)
        np.multiply(x.reshape(rows.shape), self.resources.scale, out=rows)
        rows += self.resources.shift
        return images
