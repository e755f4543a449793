"""The base of ONNX operator readers: access to the network's inputs, and appending ops.

A tensor of the network is a `View` of an op's output; reshapes and transpositions change only the
view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_cli.errors import DataError
from cnn_cli.interop.foreign import INPUT, Module, Op
from cnn_cli.interop.limits import Budget
from cnn_cli.interop.readers.tensor_views import BATCH, LayoutError, View, image_view
from cnn_cli.nn.layers import all_layers
from cnn_cli.nn.types import Array, Shape

CONSTANT_BYTES = 2**20  # of a result computed from shapes and constants


class OnnxGraph:
    """The ops, constants and views of a network so far.

    Args:
        budget: the memory budget of the file.
        values: its constants by name; computed ones are added.
        opset: version of its operators.
    """

    def __init__(self, budget: Budget, values: dict[str, Array], opset: int) -> None:
        self.opset = opset
        self.path = budget.path
        self.budget = budget
        self.values = values
        self.ops: list[Op] = []
        self.views: dict[str, View] = {}
        self.expanded: set[str] = set()  # gates expanded to the shape of what they multiply
        self.in_shape: Shape = ()
        self.plain = {layer.onnx: kind for kind, layer in all_layers().items() if layer.onnx}

    def begin(self, name: str, batch: int, shape: Shape, channels_last: bool) -> None:
        """Set the network's input, with images of that shape."""
        view = image_view(INPUT, batch, shape)
        if channels_last:
            view = view.transposed((0, *range(2, len(view.axes)), 1))
        self.views[name] = view
        self.in_shape = shape

    def shape(self, op: int) -> Shape:
        if op == INPUT:
            return self.in_shape
        shape = self.ops[op].shape
        if shape is None:
            raise ValueError("every op that is read has a shape")
        return shape

    def append(self, op: Op) -> int:
        self.ops.append(op)
        return len(self.ops) - 1


class Operator:
    """Base class for all kinds of operators."""

    def __init__(
        self,
        network: OnnxGraph,
        name: str,
        word: str,
        given: Mapping[str, Any],
        inputs: list[str],
        outputs: list[str],
    ) -> None:
        self.network = network
        self.name = name
        self.word = word
        self.given = given
        self.inputs = inputs
        self.outputs = outputs

    # Inputs.

    def _view(self, i: int) -> View:
        name = self.inputs[i] if i < len(self.inputs) else ""
        if name not in self.network.views:
            raise self._refused("must read what comes of the image", name or "nothing")
        if name in self.network.expanded and self.word not in ("Mul", "Identity"):
            raise self._refused("must not read what is repeated, apart from a product", name)
        return self.network.views[name]

    def _constant(self, i: int) -> Array | None:
        """Return an input that is a constant; None if it is omitted."""
        name = self.inputs[i] if i < len(self.inputs) else ""
        if not name:
            return None
        if name not in self.network.values:
            raise self._refused("must have weights and arguments that are constants", name)
        return self.network.values[name]

    def _needed(self, i: int) -> Array:
        found = self._constant(i)
        if found is None:
            raise self._refused(f"must have an input {i + 1}", "none")
        return found

    def _axes(self, i: int) -> list[int] | None:
        """Return the axes from an attribute, as in older files, or from an input."""
        if "axes" in self.given:
            return list(self.given["axes"])
        found = self._constant(i)
        return None if found is None else found.reshape(-1).tolist()

    def _map(self, view: View) -> int:
        """Return the op of which a view is the output, as an image."""
        if not view.is_map():
            raise LayoutError("its input must be images, channels first")
        return view.op

    def _settled(self, view: View) -> View:
        """Return an image whose pending channel shuffle is made an op."""
        groups = view.dealt()
        if groups is None or not view.is_map():
            return view
        shape, facts = self._shape_of(view), {"groups": groups}
        op = Op("channel_shuffle", self.name, (view.op,), facts, shape=shape)
        return image_view(self.network.append(op), view.batch, shape)

    def _vector(self, view: View) -> tuple[int, str]:
        """Return the op of which a view is the output, as a vector, and the order of its
        elements.
        """
        if len(view.axes) != 2 or view.labels(0) != [BATCH]:
            raise LayoutError("its input must be vectors, one an image")
        labels = view.labels(1)
        for word, order in (("chw", "czyx"), ("hwc", "zyxc")):
            if labels == [label for label in order if label in labels]:
                if len(self.network.shape(view.op)) == 1:
                    return view.op, word
                op = Op("flatten", self.name, (view.op,), shape=(view.shape[1],))
                return self.network.append(op), word
        raise LayoutError("its input must be vectors of whole images")

    def _shape_of(self, view: View) -> Shape:
        """Return an image's shape in the order of ops."""
        _, c, *space = view.shape
        return (*space, c)

    def _refused(self, rule: str, got: object) -> DataError:
        return DataError(self.network.path, f"operator {self.name} ({self.word}) {rule}", got)

    # Outputs.

    def _alike(
        self, kind: str, facts: Mapping[str, Any] | None = None, module: Module | None = None
    ) -> None:
        """Append an elementwise or per-channel op."""
        view = self._view(0)
        shape = self.network.shape(view.op)
        op = self.network.append(Op(kind, self.name, (view.op,), facts or {}, module, shape))
        self._give(View(op, view.axes))

    def _give(self, view: View, output: int = 0) -> None:
        self.network.views[self.outputs[output]] = view

    def _make(
        self,
        kind: str,
        inputs: tuple[int, ...],
        shape: Shape,
        facts: Mapping[str, Any] | None = None,
        module: Module | None = None,
    ) -> None:
        """Append an op whose output is an image, channels first, or a vector."""
        op = self.network.append(Op(kind, self.name, inputs, facts or {}, module, shape))
        self._give(image_view(op, self._batch(), shape))

    def _batch(self) -> int:
        views = self.network.views
        return next(views[each].batch for each in self.inputs if each in views)

    def _slices(self, rank: int) -> list[tuple[int, int, int, int]]:
        """Return axis, start, stop and step of each sliced axis."""
        given = self.given
        if "starts" in given:
            starts, ends = list(given["starts"]), list(given["ends"])
            axes, steps = given.get("axes"), None
        else:
            starts, ends = self._needed(1).tolist(), self._needed(2).tolist()
            axes, steps = self._constant(3), self._constant(4)
        axes = list(range(len(starts))) if axes is None else np.asarray(axes).tolist()
        counts = [1] * len(starts) if steps is None else steps.tolist()
        at = [axis % rank for axis in axes]
        return list(zip(at, starts, ends, counts, strict=True))

    def _have_room(self, count: int) -> None:
        """Refuse shapes with more elements than allowed, before allocating them."""
        if 8 * count > CONSTANT_BYTES:
            raise self._refused("must not make so many numbers", f"{count:,}")
        self.network.budget.take(8 * count)


def view_channels(view: View) -> int:
    """Return the channels of an image, or the length of a vector."""
    return view.shape[1]
