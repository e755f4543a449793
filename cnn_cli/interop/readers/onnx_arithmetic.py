"""ONNX arithmetic, between tensors and with constants."""

from __future__ import annotations

from math import prod

import numpy as np

from cnn_cli.interop.foreign import Module, Op
from cnn_cli.interop.readers.onnx_operator import Operator
from cnn_cli.interop.readers.tensor_views import LayoutError, View
from cnn_cli.nn.types import Array


class Arithmetic(Operator):
    """Sums, products and other arithmetic."""

    def _clip(self) -> None:
        low, high = self._constant(1), self._constant(2)
        bounds = [
            self.given.get(key) if each is None else each.item()
            for key, each in (("min", low), ("max", high))
        ]
        low_, high_ = bounds
        if low_ == 0 and high_ == 6:
            self._alike("relu6")
        elif low_ == 0 and (high_ is None or high_ > 1e37):
            self._alike("relu")
        else:
            self._alike("clip", {"min": low_, "max": high_})

    def _per_channel(self, view: View, values: Array) -> Array | None:
        """Return a constant as one number for all channels or one per channel; None for other
        shapes.
        """
        if values.size == 1:
            return values.reshape(1)
        rank = len(view.axes)
        if values.ndim > rank:
            return None
        shape = (1,) * (rank - values.ndim) + values.shape
        axis = max(range(rank), key=lambda i: shape[i])
        whole = view.shape[axis] == shape[axis] == values.size
        return values.reshape(-1) if whole and view.channel_axis() == axis else None

    def _arithmetic(self) -> None:
        names = self.inputs
        constants = [i for i, each in enumerate(names) if each in self.network.values]
        if not constants:
            self._of_two()
            return
        at = constants[0]
        view = self._view(1 - at)
        array = np.asarray(self._needed(at))
        values = self._per_channel(view, array)
        size = view.shape[2:]
        of_pixels = view.is_map() and array.shape[-2:] == size and array.size == prod(size)
        if values is None and self.word == "Mul" and of_pixels:
            facts, shape = {"factors": array.reshape(size)}, self.network.shape(view.op)
            op = Op("pixel_scale", self.name, (view.op,), facts, shape=shape)
            self._give(View(self.network.append(op), view.axes))
            return
        if values is None:
            raise self._refused("must have one number, or one a channel", "others")
        values = values.astype(np.float64)
        if self.word in ("Mul", "Div"):
            if self.word == "Div" and at == 0:
                raise self._refused("must not divide by the image", "a constant as dividend")
            self._scaled(view, values if self.word == "Mul" else 1 / values, None)
        elif self.word == "Sub" and at == 0:
            self._scaled(view, np.full(1, -1.0), values)
        else:
            self._scaled(view, None, values if self.word == "Add" else -values)

    def _scaled(self, view: View, weight: Array | None, bias: Array | None) -> None:
        """Append a scale and shift, with one number for all channels or one per channel."""
        shape = self.network.shape(view.op)
        entry = view.op
        for kind, key, numbers in (("scale", "factor", weight), ("shift", "term", bias)):
            if numbers is not None and numbers.size == 1:
                facts = {key: numbers.item()}
                entry = self.network.append(Op(kind, self.name, (entry,), facts, shape=shape))
            elif numbers is not None:
                arrays = {"weight" if kind == "scale" else "bias": numbers}
                module = Module(self.name, "affine", arrays)
                op = Op("affine", self.name, (entry,), module=module, shape=shape)
                entry = self.network.append(op)
        self._give(View(entry, view.axes))

    def _of_two(self) -> None:
        one, other = self._view(0), self._view(1)
        if one.axes == other.axes:
            shape = self.network.shape(one.op)
            if self.word == "Sub":
                op = Op("scale", self.name, (other.op,), {"factor": -1.0}, shape=shape)
                other = View(self.network.append(op), other.axes)
            kind = {"Add": "add", "Sub": "add", "Mul": "excite", "Div": "quotient"}[self.word]
            op = Op(kind, self.name, (one.op, other.op), shape=shape)
            self._give(View(self.network.append(op), one.axes))
            return
        if len(one.axes) != len(other.axes) or self.word != "Mul":
            raise LayoutError("its inputs must be of one shape")
        for x, gate in ((one, other), (other, one)):
            if all(b in (a, ()) for a, b in zip(x.axes, gate.axes, strict=True)):
                op = Op("excite", self.name, (x.op, gate.op), shape=self.network.shape(x.op))
                self._give(View(self.network.append(op), x.axes))
                return
        pairs = list(zip(one.axes, other.axes, strict=True))
        whole = View(one.op, tuple(a or b for a, b in pairs))
        if len(pairs) != 4 or not whole.is_map() or any(a and b and a != b for a, b in pairs):
            raise LayoutError("its inputs must be of one shape, or one a gate of the other")
        # A number a channel times one a pixel.
        op = Op("excite", self.name, (one.op, other.op), shape=self._shape_of(whole))
        self._give(View(self.network.append(op), whole.axes))

    def _square(self) -> None:
        view = self._view(0)
        op = Op("excite", self.name, (view.op, view.op), shape=self.network.shape(view.op))
        self._give(View(self.network.append(op), view.axes))

    def _sum(self) -> None:
        views = [self._view(i) for i in range(len(self.inputs))]
        if any(view.axes != views[0].axes for view in views):
            raise LayoutError("its inputs must be of one shape")
        entry = views[0].op
        for view in views[1:]:
            op = Op("add", self.name, (entry, view.op), shape=self.network.shape(entry))
            entry = self.network.append(op)
        self._give(View(entry, views[0].axes))

    def _cast(self) -> None:
        from onnx import helper

        view = self._view(0)
        if helper.tensor_dtype_to_np_dtype(self.given["to"]).kind != "f":
            raise self._refused("must be to floating point", self.given["to"])
        self._give(view)
