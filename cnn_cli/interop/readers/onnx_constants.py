"""Compute ONNX operators on constants while the network is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import ceil, prod

import numpy as np

from cnn_cli.interop.readers.onnx_operator import CONSTANT_BYTES, Operator
from cnn_cli.nn.types import Array


def _divided(a: Array, b: Array) -> Array:
    """Compute ONNX's Div, which truncates integers towards 0."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)
    return np.asarray(a / b)


def _power(base: Array, exponent: Array) -> Array:
    return np.asarray(np.power(base, exponent)).astype(base.dtype)


FOLDED: dict[str, Callable[..., Array]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Div": _divided,
    "Equal": np.equal,
    "Exp": np.exp,
    "Floor": np.floor,
    "Greater": np.greater,
    "Identity": np.asarray,
    "Less": np.less,
    "Log": np.log,
    "Max": lambda *each: reduce(np.maximum, each),
    "Min": lambda *each: reduce(np.minimum, each),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": _power,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Where": np.where,
}
REDUCED: dict[str, Callable[..., Array]] = {
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
}


class Constants(Operator):
    """Computes operators on constants."""

    def _fold(self) -> None:
        with np.errstate(all="ignore"):  # infinity and NaN, as in onnxruntime
            self._compute()

    def _compute(self) -> None:  # noqa: PLR0912, PLR0915 - a case an operator
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
            case "BatchNormalization":
                self._keep(self._normalized(*inputs), True)
            case "Cast":
                from onnx import helper

                self.network.budget.take_array(inputs[0].shape, 8)
                self._keep(inputs[0].astype(helper.tensor_dtype_to_np_dtype(given["to"])), True)
            case "Clip":
                self.network.budget.take_array(inputs[0].shape, 8)
                low, high = (
                    given.get(key, self._constant(i)) for i, key in ((1, "min"), (2, "max"))
                )
                found = inputs[0] if low is None else np.maximum(inputs[0], low)
                found = found if high is None else np.minimum(found, high)
                self._keep(found.astype(inputs[0].dtype), True)
            case "Concat":
                self._have_room(sum(each.size for each in inputs))
                self._keep(np.concatenate(inputs, given["axis"]))
            case "ConstantOfShape":
                self._have_room(prod(inputs[0].tolist()))
                value = np.asarray(given.get("value", np.zeros(1, np.float32)))
                self._keep(np.full(inputs[0].tolist(), value.reshape(-1)[0]))
            case "Expand":
                whole = np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
                self._have_room(prod(whole))
                self._keep(np.broadcast_to(inputs[0], whole))
            case "Gather":
                axis = given.get("axis", 0)
                self._have_room(inputs[1].size * inputs[0].size // max(inputs[0].shape[axis], 1))
                self._keep(np.take(inputs[0], inputs[1], axis))
            case "Range":
                first, limit, step = (each.item() for each in inputs)
                self._have_room(max(ceil((limit - first) / step), 0))
                self._keep(np.arange(first, limit, step).astype(inputs[0].dtype))
            case "Reshape":
                shape = given.get("shape") or inputs[1].tolist()
                if not given.get("allowzero", 0):
                    shape = [inputs[0].shape[i] if n == 0 else n for i, n in enumerate(shape)]
                self._keep(inputs[0].reshape(shape), True)
            case "Shape":
                self._keep(np.array(inputs[0].shape, np.int64))
            case "Slice":
                cut = [slice(None)] * inputs[0].ndim
                for axis, start, stop, step in self._slices(inputs[0].ndim):
                    cut[axis] = slice(start, stop, step)
                self._keep(inputs[0][tuple(cut)])
            case "Squeeze":
                axes = self._axes(1)
                self._keep(np.squeeze(inputs[0], None if axes is None else tuple(axes)), True)
            case "Transpose":
                self._keep(inputs[0].transpose(given.get("perm")), True)
            case "Unsqueeze":
                self._keep(np.expand_dims(inputs[0], tuple(self._axes(1) or ())), True)
            case _ if word in REDUCED:
                self.network.budget.take_array(inputs[0].shape, 8)
                axes = self._axes(1)
                idle = axes is None and given.get("noop_with_empty_axes", 0)
                over = () if idle else None if axes is None else tuple(axes)
                found = REDUCED[word](inputs[0], over, keepdims=bool(given.get("keepdims", 1)))
                self._keep(np.asarray(found).astype(inputs[0].dtype), True)
            case _ if word in FOLDED:
                self._keep(FOLDED[word](*inputs), True)
            case _:
                raise self._refused("must not be of constants alone", word)

    def _normalized(self, x: Array, weight: Array, bias: Array, *running: Array) -> Array:
        """Compute BatchNormalization; in training mode, which exporters use to standardize weights,
        with the mean and variance of x.
        """
        self.network.budget.take_array(x.shape, 8)
        shape = (-1, *(1,) * (x.ndim - 2))
        if self.given.get("training_mode", 0):
            others = tuple(i for i in range(x.ndim) if i != 1)
            mean, var = x.mean(others, np.float64), x.var(others, np.float64)
        else:
            mean, var = running
        factor = weight / np.sqrt(var + self.given.get("epsilon", 1e-5))
        found = (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
        return np.asarray(found, x.dtype)

    def _keep(self, array: Array, large: bool = False) -> None:
        """Store a constant output; `large` if its inputs account for its size."""
        if not large and array.nbytes > CONSTANT_BYTES:
            raise self._refused("must not make so many numbers", array.size)
        self.network.values[self.outputs[0]] = array
