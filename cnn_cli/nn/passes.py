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
from cnn_cli.nn.types import Array, Arrays, Saved
from cnn_cli.structs import Struct


class Chunk:
    """Some images, and what is known of them so far.

    Attributes:
        start, stop: their places in the batch.
        worker: who takes it through the network.
        fresh: it is the first of its worker in this step, so gradients are written, not added.
        values: tensors by number, while somebody still reads them.
        holders: how many tensors lie in one memory, by the id of its base.
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
        """Keep a tensor's value, instead of the one that it has so far."""
        if tensor in self.values:
            self.release((tensor,), workspace)
        self.values[tensor] = array
        key = id(array.base)
        self.holders[key] = self.holders.get(key, 0) + 1

    def release(self, tensors: Iterable[int], workspace: Workspace) -> None:
        """Forget tensors, and give their memory back once no other tensor lies in it."""
        for tensor in tensors:
            array = self.values.pop(tensor)
            key = id(array.base)
            self.holders[key] -= 1
            if self.holders[key] == 0:
                del self.holders[key]
                if workspace.owns(array):
                    workspace.give(array)

    def give_saved(self, saved: Saved, workspace: Workspace) -> None:
        """Give back what a layer saved, apart from tensors."""
        for array in as_tuple(saved):
            if id(array.base) not in self.holders and workspace.owns(array):
                workspace.give(array)

    def add_gradient(self, tensor: int, gradient: Array, workspace: Workspace) -> None:
        """Add to a tensor's gradient; `gradient` is taken over."""
        so_far = self.gradients.get(tensor)
        if so_far is None:
            self.gradients[tensor] = gradient
        else:
            so_far += gradient
            workspace.give(gradient)


def share_chunks(bounds: list[tuple[int, int]], workers: int) -> list[list[Chunk]]:
    """Each worker's chunks, next to each other in the batch."""
    shares: list[list[Chunk]] = [[] for _ in range(workers)]
    for i, (start, stop) in enumerate(bounds):
        worker = i * workers // len(bounds) if len(bounds) >= workers else i
        shares[worker].append(Chunk(start, stop, worker, fresh=not shares[worker]))
    return shares


def inputs_of(chunk: Chunk, node: Node) -> Array | Arrays:
    if len(node.inputs) == 1 and not node.layer.takes_tuple:
        return chunk.values[node.inputs[0]]
    return tuple(chunk.values[tensor] for tensor in node.inputs)


def as_tuple(value: Array | Arrays | None) -> Arrays:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


class Resources(Struct):
    """What an engine lends to every pass.

    Attributes:
        workspaces: one a worker.
        images_per_chunk: how many go through the network together.
        seed: of dropout.
        scale, shift: of a row of pixels, (w·c,), since three channels make a slow inner loop:
            images of integers become ``x * scale + shift``.
        scale_floats: other images as well; never features, which are no images.
        kernels: what layers compute with.
    """

    workspaces: list[Workspace]
    images_per_chunk: int
    seed: int
    scale: Array
    shift: Array
    scale_floats: bool
    kernels: Kernels


class Pass:
    """One pass of a batch, forward.

    Args:
        resources: of the engine.
        network: to pass through.
        x: the images.
        n: how many of them the batch has; by default all.
        multiple: of chunks; by default there is one a worker, or a multiple.
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

    @property
    def busy(self) -> int:
        """Workers that have a chunk; they are the first ones."""
        return sum(bool(chunks) for chunks in self._shares)

    def each_chunk(self, act: Callable[[Chunk, RunContext], None]) -> Callable[[int], None]:
        """A job for the team: `act` on each of a worker's chunks."""

        def work(worker: int) -> None:
            for chunk in self._shares[worker]:
                act(chunk, self.context(worker, chunk))
                self._after_chunk(worker)

        return work

    def _after_chunk(self, worker: int) -> None:
        """A worker has done one of its chunks."""

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
        """One node's turn; tensors to `release` after it, and whether to keep what it saves."""
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
        """What a layer makes of a chunk, and what its backward needs."""
        return step.node.layer.forward(inputs_of(chunk, step.node), context, run)

    def _enter(self, chunk: Chunk, run: RunContext) -> None:
        """Lay the chunk's images out as the first nodes read them."""
        x = self.x[chunk.start : chunk.stop]
        if self._has_pixels:
            x = self._scaled(x, run)
        chunk.hold(self.network.entry, x, run.workspace)

    @property
    def _has_pixels(self) -> bool:
        """Whether what comes in is to be scaled and shifted."""
        is_image = self.network.entry == IMAGE
        return self.x.dtype.kind in "ui" or (self.resources.scale_floats and is_image)

    def _scaled(self, x: Array, run: RunContext) -> Array:
        """A copy of images in the network's numbers; pixels are scaled and shifted."""
        images = run.take(x.shape)
        if not self._has_pixels:
            images[...] = x
            return images
        rows = images.reshape(-1, self.resources.scale.size)
        np.multiply(x.reshape(rows.shape), self.resources.scale, out=rows)
        rows += self.resources.shift
        return images
