"""Simplify a foreign network: merge ops that its exporter split.

Exporters write an activation as several operators, a bias as a sum, a concatenation as a flat list.
Unused ops, the normalization of the image and the activation after the scores are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isclose, sqrt
from typing import Any, get_args

import numpy as np

from cnn_cli.interop.foreign import INPUT, PASSED_OVER, Activation, Foreign, Op, ScaleAndShift
from cnn_cli.nn.kernels.activation import ACTIVATIONS
from cnn_cli.nn.layers.adaptive_avgpool import part_means
from cnn_cli.nn.types import Array

# Activations that some exporters write as x times a function of x.
TIMES_ITSELF = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
# Ops that end with a scale and shift per channel.
SCALED = ("affine", "groupnorm", "layernorm")


def simplified(ops: Sequence[Op], end: int) -> tuple[tuple[Op, ...], ScaleAndShift | None]:
    """Return the ops that `end` needs, merged where they form one layer.

    Returns:
        The ops, `end` last, and the normalization of the image, which is not among them.
    """
    work = _Joining()
    new = {INPUT: INPUT}
    for i, op in enumerate(ops):
        inputs = tuple(new[each] for each in op.inputs)
        new[i] = work.add(op, inputs)
    return _without_normalization(*_needed(work.ops, new[end]))


def without_activation(foreign: Foreign) -> Foreign:
    """Remove the softmax or sigmoid that turns scores into probabilities, and store its kind; add a
    note about another activation there.
    """
    ops = foreign.ops or ()
    at = len(ops) - 1
    while at != INPUT and ops[at].kind in PASSED_OVER:
        (at,) = ops[at].inputs
    for kind in get_args(Activation):
        if at != INPUT and ops[at].kind == kind:
            (before,) = ops[at].inputs
            new = [*range(at), before, *range(at, len(ops) - 1)]
            kept = [
                replace(op, inputs=tuple(INPUT if i == INPUT else new[i] for i in op.inputs))
                for op in (*ops[:at], *ops[at + 1 :])
            ]
            return replace(foreign, ops=tuple(kept), activation=kind)
    if at != INPUT and ops[at].kind in ACTIVATIONS:
        note = f"the file's network ends in a {ops[at].kind}, whose values are taken as scores"
        return replace(foreign, notes=(*foreign.notes, note))
    return foreign


class _Joining:
    """Appends ops, and merges each with earlier ones if they form one layer."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.concats: dict[tuple[int, ...], int] = {}

    def add(self, op: Op, inputs: tuple[int, ...]) -> int:  # noqa: PLR0911 - a case a kind
        """Append an op, or an equivalent; return its position."""
        match op.kind:
            case "identity":
                return inputs[0]
            case "scale":
                return self._scale(inputs[0], op.facts["factor"], op)
            case "shift" if op.facts["term"] == 0:
                return inputs[0]
            case "clip":
                return self._clip(op, inputs[0])
            case "affine":
                return self._affine(op, inputs[0])
            case "excite":
                return self._times(op, *inputs)
            case "pixel_scale" if self._is(inputs[0], "avgpool"):
                # A mean divided by another number at each position.
                pool = self.ops[inputs[0]]
                facts = {**pool.facts, "factors": op.facts["factors"]}
                return self._append(Op("avgpool", op.name, (), facts, shape=op.shape), pool.inputs)
            case "quotient":
                return self._quotient(op, *inputs)
            case "columns":
                return self._columns(op, inputs[0])
            case "concat":
                return self._concat(op, inputs)
        return self._append(op, inputs)

    def _append(self, op: Op, inputs: tuple[int, ...]) -> int:
        self.ops.append(replace(op, inputs=inputs))
        return len(self.ops) - 1

    def _make(self, like: Op, kind: str, inputs: tuple[int, ...], **facts: Any) -> int:
        return self._append(Op(kind, like.name, (), facts, shape=like.shape), inputs)

    def _is(self, tensor: int, kind: str, **facts: float) -> bool:
        """Whether a tensor is the output of such an op."""
        if tensor == INPUT or self.ops[tensor].kind != kind:
            return False
        found = self.ops[tensor].facts
        return all(isclose(found[key], value, rel_tol=1e-5) for key, value in facts.items())

    def _before(self, tensor: int) -> int:
        return self.ops[tensor].inputs[0]

    def _scale(self, x: int, factor: float, like: Op) -> int:
        if self._is(x, "scale"):
            factor *= self.ops[x].facts["factor"]
            x = self._before(x)
        return (
            x
            if isclose(factor, 1, rel_tol=1e-6)
            else self._make(like, "scale", (x,), factor=factor)
        )

    def _clip(self, op: Op, x: int) -> int:
        """Convert a clip: of a shift to 0..1, it is a hard sigmoid."""
        low, high = op.facts["min"], op.facts["max"]
        if (low, high) == (0, 1) and self._is(x, "shift", term=0.5):
            before = self._before(x)
            if self._is(before, "scale", factor=1 / 6):
                return self._make(op, "hardsigmoid", (self._before(before),))
        return self._append(op, (x,))

    def _affine(self, op: Op, x: int) -> int:
        """Merge a scale and shift per channel with an earlier one, or into a layer's bias."""
        given = _arrays(op)
        before = None if x == INPUT else self.ops[x]
        if before is not None and before.kind in SCALED:
            arrays = _arrays(before)
            if "weight" in given:
                arrays = {key: value * given["weight"] for key, value in arrays.items()}
                arrays.setdefault("weight", given["weight"])
            if "bias" in given:
                arrays["bias"] = arrays.get("bias", np.zeros(1)) + given["bias"]
            return self._again(before, arrays)
        if before is not None and before.kind in ("conv", "linear") and "weight" not in given:
            arrays = _arrays(before)
            arrays["bias"] = arrays.get("bias", np.zeros(1)) + given["bias"]
            return self._again(before, arrays)
        return self._append(op, (x,))

    def _again(self, op: Op, arrays: dict[str, Array]) -> int:
        """Return an op with other arrays."""
        if op.module is None:
            raise ValueError(f"{op.name} has arrays")
        module = replace(op.module, arrays=arrays)
        return self._append(replace(op, module=module), op.inputs)

    def _times(self, op: Op, a: int, b: int) -> int:
        """Convert a product; a factor that is one number for all is moved after it."""
        factor = 1.0
        ends = []
        for end in (a, b):
            x = end
            if self._is(x, "scale"):
                factor *= self.ops[x].facts["factor"]
                x = self._before(x)
            if self._is(x, "relu6") and self._is(self._before(x), "shift", term=3):
                # relu6(x + 3) is 6 hardsigmoid(x).
                inner = self._before(self._before(x))
                x = self._make(self.ops[x], "hardsigmoid", (inner,))
                factor *= 6
            ends.append(x)
        for x, gate in (ends, ends[::-1]):
            kind = TIMES_ITSELF.get(self.ops[gate].kind) if gate != INPUT else None
            if kind is not None and self._before(gate) == x:
                return self._scale(self._make(op, kind, (x,)), factor, op)
            if self._is_erf_of(gate, x):
                return self._scale(self._make(op, "gelu", (x,)), 2 * factor, op)
        if isclose(factor, 1, rel_tol=1e-6):
            return self._append(op, tuple(ends))
        return self._scale(self._append(op, tuple(ends)), factor, op)

    def _is_erf_of(self, gate: int, x: int) -> bool:
        """Whether a gate is 1 + erf(x / √2), twice the normal cumulative distribution function."""
        if not self._is(gate, "shift", term=1) or not self._is(self._before(gate), "erf"):
            return False
        inner = self._before(self._before(gate))
        return self._is(inner, "scale", factor=1 / sqrt(2)) and self._before(inner) == x

    def _quotient(self, op: Op, x: int, base: int) -> int:
        """Convert x / (k + alpha m)^beta, where a convolution computes the mean squares m, to an
        lrn.
        """
        facts = self._neighborhood(x, base)
        if facts is None:
            return self._append(op, (x, base))
        return self._make(op, "lrn", (x,), **facts)

    def _neighborhood(self, x: int, base: int) -> dict[str, Any] | None:
        """Return the arguments of the lrn that divides by `base`, or None."""
        if not self._is(base, "power") or not self._is(self._before(base), "conv"):
            return None
        conv = self.ops[self._before(base)]
        squares, arrays = conv.inputs[0], _arrays(conv)
        if not self._is(squares, "excite") or self.ops[squares].inputs != (x, x):
            return None
        weight, bias = arrays["weight"], arrays.get("bias")
        channels = len(weight)
        if weight.shape != (channels, channels, 1, 1) or bias is None or np.ptp(bias):
            return None
        matrix = weight[:, :, 0, 0]
        before, behind = (int(np.count_nonzero(each)) for each in (matrix[-1, :-1], matrix[0, 1:]))
        size = before + behind + 1
        band = np.tri(channels, k=behind) - np.tri(channels, k=-before - 1)
        if (size // 2, (size - 1) // 2) != (before, behind):
            return None
        if not np.allclose(matrix, matrix[0, 0] * band, rtol=1e-6, atol=0):
            return None
        return {
            "size": size,
            "alpha": float(matrix[0, 0]) * size,
            "beta": self.ops[base].facts["exponent"],
            "k": float(bias[0]),
        }

    def _columns(self, op: Op, x: int) -> int:
        """Merge means of rows and of columns to adaptive pooling."""
        if self._is_means(x, "rows") and op.shape is not None:
            rows = self.ops[x]
            matrix = op.facts["matrix"]
            if _are_means(matrix):
                size = (op.shape[0], op.shape[1])
                return self._make(op, "adaptive_avgpool", rows.inputs, output_size=size)
        return self._append(op, (x,))

    def _is_means(self, tensor: int, kind: str) -> bool:
        return self._is(tensor, kind) and _are_means(self.ops[tensor].facts["matrix"])

    def _concat(self, op: Op, inputs: tuple[int, ...]) -> int:
        """Convert a concatenation, extending an earlier one with the same beginning."""
        if len(inputs) == 1:
            return inputs[0]
        for length in range(len(inputs), 1, -1):
            if inputs[:length] in self.concats:
                rest = (self.concats[inputs[:length]], *inputs[length:])
                found = rest[0] if len(rest) == 1 else self._append(op, rest)
                break
        else:
            found = self._append(op, inputs)
        self.concats[inputs] = found
        return found


def _arrays(op: Op) -> dict[str, Array]:
    return {} if op.module is None else dict(op.module.arrays)


def _are_means(matrix: Array) -> bool:
    return bool(np.allclose(matrix, part_means(matrix.shape[1], matrix.shape[0]), atol=1e-6))


def _needed(ops: Sequence[Op], end: int) -> tuple[list[Op], int]:
    """Return the ops that lead to `end`, in order."""
    wanted = set()
    ahead = [end]
    while ahead:
        op = ahead.pop()
        if op != INPUT and op not in wanted:
            wanted.add(op)
            ahead += ops[op].inputs
    new = {INPUT: INPUT} | {old: i for i, old in enumerate(sorted(wanted))}
    kept = [
        replace(op, inputs=tuple(new[i] for i in op.inputs))
        for old, op in enumerate(ops)
        if old in wanted
    ]
    return kept, new[end]


def _without_normalization(ops: list[Op], end: int) -> tuple[tuple[Op, ...], ScaleAndShift | None]:
    """Remove ops that only normalize the image; return the rest, and the normalization."""
    scale, shift = np.ones(1), np.zeros(1)
    found = INPUT
    while True:
        readers = [i for i, op in enumerate(ops) if found in op.inputs]
        if len(readers) != 1 or ops[readers[0]].kind not in ("scale", "shift", "affine"):
            break
        op = ops[readers[0]]
        arrays = op.module.arrays if op.module else {}
        factor = arrays.get("weight", np.array([op.facts.get("factor", 1.0)]))
        term = arrays.get("bias", np.array([op.facts.get("term", 0.0)]))
        if (factor <= 0).any():
            break
        scale, shift = scale * factor, shift * factor + term
        found = readers[0]
    if found in (INPUT, end):
        return tuple(ops), None
    moved = [
        replace(op, inputs=tuple(INPUT if i <= found else i - found - 1 for i in op.inputs))
        for op in ops[found + 1 :]
    ]
    return tuple(moved), ScaleAndShift(scale, shift)
