"""All parameters of a network in one flat array, with named views.

Optimizer, clipping, averaging, checkpoint and all-reduce are then a few whole-array calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import DTypeLike

from cnn_cli.arithmetic import ceil_div
from cnn_cli.errors import DataError, listed
from cnn_cli.nn.graph import Graph, Node
from cnn_cli.nn.layers.base import ParamSpec
from cnn_cli.nn.types import Array, Shape

ALIGNMENT = 16  # elements: views start on cache lines


class Parameters:
    """A network's trained arrays and its running statistics.

    Attributes:
        flat: all parameters, each aligned to a cache line; gaps are 0.
        views: per node, its parameters by name, in the layer's layout.
        flat_buffers, buffer_views: the same for running statistics.
        version: changes whenever the values do; code that writes to the arrays calls `touch`.
    """

    def __init__(self, graph: Graph, dtype: DTypeLike) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self.version = 0
        self.flat, self.views = _allocate(
            [[(spec.name, spec.shape) for spec in node.layer.params] for node in graph.nodes],
            self.dtype,
        )
        self.flat_buffers, self.buffer_views = _allocate(
            [[(spec.name, spec.shape) for spec in node.layer.buffers] for node in graph.nodes],
            self.dtype,
        )
        for node in graph.nodes:
            for spec in node.layer.buffers:
                self.buffer_views[node.index][spec.name].fill(spec.initial)

    def touch(self) -> None:
        """Declare that values have changed, so that derived arrays are recomputed."""
        self.version += 1

    @property
    def count(self) -> int:
        """Number of trained values."""
        return sum(spec.size for node in self.graph.nodes for spec in node.layer.params)

    def parts(self) -> Iterator[tuple[Node, ParamSpec, slice]]:
        """Yield the slice of each parameter in `flat`, including the gap after it, in order."""
        start = 0
        for node in self.graph.nodes:
            for spec in node.layer.params:
                stop = start + _padded(spec.size)
                yield node, spec, slice(start, stop)
                start = stop

    def empty_like(self) -> tuple[Array, list[dict[str, Array]]]:
        """Return a flat array of zeros with views, for gradients or averages."""
        return _allocate(
            [[(spec.name, spec.shape) for spec in node.layer.params] for node in self.graph.nodes],
            self.dtype,
        )

    def copy(self) -> Parameters:
        """Return a copy with memory of its own."""
        other = Parameters(self.graph, self.dtype)
        other.copy_from(self)
        return other

    def copy_from(self, other: Parameters) -> None:
        """Copy another one's values; both must belong to the same network."""
        self.flat[:] = other.flat
        self.flat_buffers[:] = other.flat_buffers
        self.touch()

    def named(self, views: list[dict[str, Array]] | None = None) -> dict[str, Array]:
        """Return parameters as `layer/name` in PyTorch's layouts (views if the layout allows).

        Args:
            views: views of another flat array; by default the parameters' own.
        """
        views = self.views if views is None else views
        return {
            f"{node.name}/{spec.name}": to_torch(views[node.index][spec.name], spec)
            for node in self.graph.nodes
            for spec in node.layer.params
        }

    def named_buffers(self) -> dict[str, Array]:
        """Return running statistics as `layer/name`."""
        return {
            f"{node.name}/{spec.name}": self.buffer_views[node.index][spec.name]
            for node in self.graph.nodes
            for spec in node.layer.buffers
        }

    def load(self, arrays: Mapping[str, Array], place: str) -> None:
        """Load values from `layer/name` arrays in PyTorch's layouts.

        Raises:
            DataError: names are missing or extra, or shapes or kinds differ; all are listed.
        """
        fill(self.named() | self.named_buffers(), arrays, place)
        self.touch()


def fill(targets: Mapping[str, Array], arrays: Mapping[str, Array], place: str) -> None:
    """Copy arrays into others of the same names and shapes.

    Raises:
        DataError: names are missing or extra, or shapes or kinds differ; all are listed.
    """
    problems = _mismatches({name: view.shape for name, view in targets.items()}, arrays)
    if problems:
        raise DataError(place, "tensors do not match the network", problems)
    for name, view in targets.items():
        view[...] = arrays[name]


def to_torch(array: Array, spec: ParamSpec) -> Array:
    """View a parameter in PyTorch's layout."""
    return array if spec.to_torch is None else array.transpose(spec.to_torch)


def _mismatches(expected: Mapping[str, Shape], arrays: Mapping[str, Array]) -> str:
    problems = []
    if missing := [name for name in expected if name not in arrays]:
        problems.append("missing " + listed(missing))
    if extra := [name for name in arrays if name not in expected]:
        problems.append("extra " + listed(extra))
    misshapen = [
        f"{name} of shape {arrays[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if misshapen:
        problems.append("misshapen " + listed(misshapen))
    wrong = [
        f"{name} of type {arrays[name].dtype}"
        for name in expected
        if name in arrays and arrays[name].dtype.kind != "f"
    ]
    if wrong:
        problems.append("not floating-point " + listed(wrong))
    return "; ".join(problems)


def _padded(size: int) -> int:
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


def _allocate(
    specs: list[list[tuple[str, Shape]]], dtype: np.dtype[np.generic]
) -> tuple[Array, list[dict[str, Array]]]:
    """Allocate zeros for all, and return per node the views by name."""
    places = []
    end = 0
    for node_specs in specs:
        for _, shape in node_specs:
            size = int(np.prod(shape, dtype=np.int64))
            places.append((end, size))
            end += _padded(size)
    flat = np.zeros(end, dtype)
    taken = iter(places)
    views = []
    for node_specs in specs:
        node_views = {}
        for name, shape in node_specs:
            start, size = next(taken)
            node_views[name] = flat[start : start + size].reshape(shape)
        views.append(node_views)
    return flat, views
