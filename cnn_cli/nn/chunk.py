"""A few images on their way through the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cnn_cli.nn.graph import Node
from cnn_cli.nn.types import Array, Arrays, Saved
from cnn_cli.nn.workspace import Workspace


@dataclass(slots=True)
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

    start: int
    stop: int
    worker: int
    fresh: bool
    values: dict[int, Array] = field(default_factory=dict)
    holders: dict[int, int] = field(default_factory=dict)
    saved: dict[int, Any] = field(default_factory=dict)
    gradients: dict[int, Array] = field(default_factory=dict)

    def hold(self, tensor: int, array: Array) -> None:
        """Keep a tensor's value."""
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
