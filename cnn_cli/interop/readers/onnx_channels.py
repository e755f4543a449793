"""ONNX operators on channels and vectors: matrix products, concatenations and slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn_cli.arithmetic import ceil_div
from cnn_cli.interop.foreign import Module, Op
from cnn_cli.interop.readers.onnx_operator import Operator
from cnn_cli.interop.readers.tensor_views import CHANNELS, OUTER, LayoutError, View
from cnn_cli.nn.types import Array


class Channels(Operator):
    """Operators on channels."""

    def _gemm(self) -> None:
        entry, order = self._vector(self._view(0))
        weight, bias = self._needed(1), self._constant(2)
        if not self.given.get("transB", 0):
            weight = weight.T
        alpha, beta = self.given.get("alpha", 1.0), self.given.get("beta", 1.0)
        self._linear(
            entry,
            order,
            weight if alpha == 1 else weight * alpha,
            bias if bias is None or beta == 1 else bias * beta,
        )

    def _linear(self, entry: int, order: Any, weight: Array, bias: Array | None) -> None:
        arrays = {"weight": weight}
        if bias is not None:
            arrays["bias"] = np.broadcast_to(bias.reshape(-1), weight.shape[:1])
        if weight.ndim != 2 or weight.shape[1:] != self.network.shape(entry)[-1:]:
            raise LayoutError("its weights must be a matrix for its input")
        module = Module(self.name, "linear", arrays, order)
        self._make("linear", (entry,), weight.shape[:1], {}, module)

    def _product_of_matrices(self) -> None:
        if self.inputs[0] in self.network.values:
            self._resample(self._needed(0), self._view(1), -2, "rows")
            return
        view, weight = self._view(0), self._needed(1)
        if len(view.axes) == 2:
            self._linear(*self._vector(view), weight.T, None)
            return
        if weight.ndim == 2 and view.labels(-1) == ["x"]:
            self._resample(weight.T, view, -1, "columns")
            return
        if weight.ndim != 2 or view.channel_axis() != len(view.axes) - 1:
            raise LayoutError("its matrix must be of channels")
        # Channels last: the 1×1 convolutions of some transformer-like networks.
        arrays = {"weight": weight.T[:, :, None, None]}
        facts = {
            "kernel_size": (1, 1),
            "stride": (1, 1),
            "dilation": (1, 1),
            "padding": (0, 0, 0, 0),
            "groups": 1,
        }
        shape = (*self.network.shape(view.op)[:-1], weight.shape[1])
        module = Module(self.name, "conv", arrays)
        op = self.network.append(Op("conv", self.name, (view.op,), facts, module, shape))
        self._give(view.with_channels(op, weight.shape[1], len(view.axes) - 1))

    def _resample(self, matrix: Array, view: View, axis: int, kind: str) -> None:
        """Convert a weighted sum of rows or columns, as in adaptive pooling."""
        entry = self._map(view)
        shape = list(self.network.shape(entry))
        if matrix.ndim != 2 or len(shape) != 3 or matrix.shape[1] != view.shape[axis]:
            raise LayoutError("its matrix must be of rows or columns")
        shape[0 if kind == "rows" else 1] = matrix.shape[0]
        self._make(kind, (entry,), tuple(shape), {"matrix": matrix})

    def _concat(self) -> None:
        views = [self._view(i) for i in range(len(self.inputs))]
        rank = len(views[0].axes)
        axis = self.given["axis"] % rank
        if rank == 2 and axis == 1 and any(len(view.axes[1]) > 1 for view in views):
            ends = [self._vector(view) for view in views]
            if any(order != "chw" for _, order in ends):
                raise LayoutError("vectors that it joins must be channels first")
            length = sum(view.shape[1] for view in views)
            self._make("concat", tuple(op for op, _ in ends), (length,))
            return
        if all(self._is_before_channels(view, axis) for view in views):
            self._stack(views, axis)
            return
        rests = [[each for i, each in enumerate(view.axes) if i != axis] for view in views]
        if any(rest != rests[0] for rest in rests) or any(
            view.labels(axis) not in ([], [CHANNELS]) for view in views
        ):
            raise LayoutError("what it joins must be channels")
        if any(CHANNELS in label for each in rests[0] for label, _ in each):
            raise LayoutError("what it joins must be channels")
        count = sum(view.shape[axis] for view in views)
        inputs = tuple(view.op for view in views)
        shape = (*self.network.shape(inputs[0])[:-1], count)
        op = self.network.append(Op("concat", self.name, inputs, shape=shape))
        self._give(views[0].with_channels(op, count, axis))

    def _is_before_channels(self, view: View, axis: int) -> bool:
        """Whether an axis has one place, and the next one all channels."""
        return view.labels(axis) == [] and view.channel_axis() == axis + 1

    def _stack(self, views: list[View], axis: int) -> None:
        """Images along a new axis, as channels in as many parts."""
        first = views[0]
        if any(view.axes != first.axes for view in views):
            raise LayoutError("what it joins must be of one shape")
        inputs = tuple(view.op for view in views)
        *space, channels = self.network.shape(first.op)
        shape = (*space, len(views) * channels)
        op = self.network.append(Op("concat", self.name, inputs, shape=shape))
        self._give(first.stacked(op, len(views), axis))

    def _sum_of_parts(self, view: View, axis: int, *, keep: bool) -> None:
        """The sum of channels in parts, over the parts."""
        count = view.shape[axis]
        *space, channels = self.network.shape(view.op)
        size = channels // count
        shape = (*space, size)
        parts = [self._part(view.op, i * size, (i + 1) * size) for i in range(count)]
        found = parts[0]
        for part in parts[1:]:
            found = self.network.append(Op("add", self.name, (found, part), shape=shape))
        self._give(view.summed(found, axis, keep=keep))

    def _softmax(self) -> None:
        """Convert a softmax over a vector's scores, or over the parts of each channel."""
        view, opset = self._view(0), self.network.opset
        axis = self.given.get("axis", -1 if opset >= 13 else 1) % len(view.axes)
        if len(view.axes) == 2 and axis == 1:
            self._alike("softmax")
        elif view.labels(axis) == [OUTER] and opset >= 13:  # before, it was of all axes from there
            self._alike("radix_softmax", {"radix": view.shape[axis]})
        else:
            raise self._refused("must be of a vector's scores", f"axis {axis}")

    def _slice(self) -> None:
        view = self._view(0)
        edges = {2: (0, 0), 3: (0, 0)}
        for axis, start, end, step in self._slices(len(view.axes)):
            length = view.shape[axis]
            found = range(length)[start:end:step]
            if found == range(length):
                continue
            if step != 1 or not found:
                raise self._refused("must take some one after another", f"axis {axis}")
            if view.channel_axis() == axis:
                part = self._part(view.op, found.start, found.stop)
                view = view.with_channels(part, len(found), axis)
            elif len(view.axes) == 4 and view.is_map() and axis > 1:
                edges[axis] = (-found.start, found.stop - length)
            else:
                raise self._refused("must take channels, rows or columns", f"axis {axis}")
        if any(map(any, edges.values())):
            h, w, c = self.network.shape(view.op)
            shape = (h + sum(edges[2]), w + sum(edges[3]), c)
            self._make("zeropad", (view.op,), shape, {"padding": (edges[2], edges[3])})
        else:
            self._give(view)

    def _part(self, op: int, start: int, stop: int) -> int:
        """Some of the channels of an op's output."""
        shape = (*self.network.shape(op)[:-1], stop - start)
        facts = {"start": start, "stop": stop}
        return self.network.append(Op("slice", self.name, (op,), facts, shape=shape))

    def _split(self) -> None:
        view = self._view(0)
        axis = self.given.get("axis", 0) % len(view.axes)
        if view.channel_axis() != axis:
            raise self._refused("must split channels", f"axis {axis}")
        sizes = self.given.get("split")
        if sizes is None:
            found = self._constant(1)
            part = ceil_div(view.shape[axis], len(self.outputs))
            sizes = [part] * len(self.outputs) if found is None else found.tolist()
        start = 0
        for i, size in enumerate(sizes):
            stop = min(start + size, view.shape[axis])
            part = self._part(view.op, start, stop)
            self._give(view.with_channels(part, stop - start, axis), i)
            start = stop

    def _gather(self) -> None:
        view, places = self._view(0), np.asarray(self._needed(1))
        axis = self.given.get("axis", 0) % len(view.axes)
        length = view.shape[axis]
        if not np.array_equal(places.reshape(-1), np.arange(length)):
            raise self._refused("must take all, in their order", f"axis {axis}")
        shape = (*view.shape[:axis], *places.shape, *view.shape[axis + 1 :])
        self._give(view.reshaped(shape))
