"""Merge padding ops into the following convolution or pool."""

from __future__ import annotations

from collections.abc import Sequence

from cnn_cli.arithmetic import ceil_div
from cnn_cli.interop.foreign import INPUT, Op
from cnn_cli.nn.types import Shape

# Ops with nonnegative outputs, for which a maximum ignores zero padding.
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hardsigmoid")


def padded(ops: Sequence[Op]) -> list[Op]:
    """Return the ops with preceding padding merged into windows, if that is equivalent."""
    found: list[Op] = []
    for op in ops:
        before = found[op.inputs[0]] if op.inputs[0] != INPUT else None
        unpadded = op.facts.get("padding") == (0, 0, 0, 0)
        if before is not None and before.kind == "pad" and op.kind == "conv" and unpadded:
            facts = {**op.facts, **before.facts}
            found.append(Op(op.kind, op.name, before.inputs, facts, op.module, op.shape))
        elif before is not None and before.kind == "zeropad" and _may_pad(op, before, found):
            (top, bottom), (left, right) = before.facts["padding"]
            own = op.facts["padding"]
            sides = same_sides(op, before.shape or ()) if own == "same" else own
            added = zip(sides, (top, bottom, left, right), strict=True)
            facts = {**op.facts, "padding": tuple(a + b for a, b in added)}
            if op.kind == "avgpool":
                facts["count_include_pad"] = True
            found.append(Op(op.kind, op.name, before.inputs, facts, op.module, op.shape))
        else:
            found.append(op)
    return found


def _may_pad(op: Op, pad: Op, ops: Sequence[Op]) -> bool:
    if min(min(pair) for pair in pad.facts["padding"]) < 0:
        return False
    if op.kind == "maxpool":
        (source,) = pad.inputs
        return source != INPUT and ops[source].kind in NOT_NEGATIVE
    if op.kind == "avgpool":
        own = op.facts["padding"]
        return own == (0, 0, 0, 0) or (own != "same" and bool(op.facts.get("count_include_pad")))
    return op.kind == "conv"


def same_sides(op: Op, shape: Shape) -> tuple[int, ...]:
    """Return the padding above, below, left and right of TensorFlow's `same`."""
    sides: list[int] = []
    for axis in (0, 1):
        stride, kernel = op.facts["stride"][axis], op.facts["kernel_size"][axis]
        reach = op.facts.get("dilation", (1, 1))[axis] * (kernel - 1) + 1
        outputs = ceil_div(shape[axis], stride)
        total = max((outputs - 1) * stride + reach - shape[axis], 0)
        sides += [total // 2, total - total // 2]
    return tuple(sides)
