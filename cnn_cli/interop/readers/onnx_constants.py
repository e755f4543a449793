"""ONNX's operators on constants alone, which are computed while the network is read."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from cnn_cli.interop.readers.onnx_operator import CONSTANT_BYTES, Operator
from cnn_cli.nn.types import Array


def _divided(a: Array, b: Array) -> Array:
    """ONNX's Div, which rounds whole numbers towards 0."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


FOLDED: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divided,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Identity": np.asarray,
}


class Constants(Operator):
    """Operators on constants."""

    def _fold(self) -> None:  # noqa: PLR0912 - a case an operator
        given, word = self.given, self.word
        if word == "Constant":
            (value,) = given.values()
            self._keep(np.asarray(value), large=True)
            return
        missing = [each for each in self.inputs if each and each not in self.network.values]
        if missing:
            raise self._refused("must read constants, or what comes of the image", missing[0])
        inputs = [self.network.values[each] for each in self.inputs if each]
        shapes = np.broadcast_shapes(*(each.shape for each in inputs)) if word in FOLDED else ()
        self.network.budget.take_array(shapes, 8)
        match word:
            case "Cast":
                from onnx import helper

                self.network.budget.take_array(inputs[0].shape, 8)
                self._keep(inputs[0].astype(helper.tensor_dtype_to_np_dtype(given["to"])), True)
            case "Concat":
                self._have_room(sum(each.size for each in inputs))
                self._keep(np.concatenate(inputs, given["axis"]))
            case "ConstantOfShape":
                self._have_room(prod(inputs[0].tolist()))
                value = np.asarray(given.get("value", np.zeros(1, np.float32)))
                self._keep(np.full(inputs[0].tolist(), value.reshape(-1)[0]))
            case "Gather":
                axis = given.get("axis", 0)
                self._have_room(inputs[1].size * inputs[0].size // max(inputs[0].shape[axis], 1))
                self._keep(np.take(inputs[0], inputs[1], axis))
            case "Reshape":
                shape = given.get("shape") or inputs[1].tolist()
                if not given.get("allowzero", 0):
                    shape = [inputs[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
                self._keep(inputs[0].reshape(shape), True)
            case "Shape":
                self._keep(np.array(inputs[0].shape, np.int64))
            case "Slice":
                whole = [slice(None)] * inputs[0].ndim
                for axis, start, stop, step in self._slices(inputs[0].ndim):
                    whole[axis] = slice(start, stop, step)
                self._keep(inputs[0][tuple(whole)])
            case "Squeeze":
                axes = self._axes(1)
                self._keep(np.squeeze(inputs[0], None if axes is None else tuple(axes)), True)
            case "Transpose":
                self._keep(inputs[0].transpose(given.get("perm")), True)
            case "Unsqueeze":
                self._keep(np.expand_dims(inputs[0], tuple(self._axes(1) or ())), True)
            case _ if word in FOLDED:
                self._keep(FOLDED[word](*inputs), True)
            case _:
                raise self._refused("must not be of constants alone", word)

    def _keep(self, array: Array, large: bool = False) -> None:
        """An output that is a constant; `large` where its inputs account for it."""
        if not large and array.nbytes > CONSTANT_BYTES:
            raise self._refused("must not make so many numbers", array.size)
        self.network.values[self.outputs[0]] = array
