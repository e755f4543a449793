"""Match a file's layers to the network's by structure, for files that contain it.

Both networks are walked from the scores back to the image, and every step must be equal: kind,
stride, padding, eps. Differences that keep all values are allowed: dropout, flattening, separate
padding operators, an average over the whole map, and a batch normalization folded into the
preceding convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Any

from cnn_cli.arithmetic import ceil_div
from cnn_cli.errors import DataError
from cnn_cli.interop.derive.padding import NOT_NEGATIVE
from cnn_cli.interop.foreign import INPUT, PASSED_OVER, Foreign, Module, Op
from cnn_cli.nn.graph import IMAGE, Graph, Node
from cnn_cli.nn.kernels.geometry import Geometry, Padding
from cnn_cli.nn.kernels.windows import Windows
from cnn_cli.nn.layers.avgpool import AvgPool
from cnn_cli.nn.layers.conv import Conv
from cnn_cli.nn.layers.linear import Linear
from cnn_cli.nn.layers.maxpool import MaxPool
from cnn_cli.nn.layers.pad import Pad

UNORDERED = ("add", "excite", "product")
# Kinds of a network's layers, and what a file has for them.
OTHERWISE = {"product": "excite", "part": "slice", "layer_scale": "affine"}


class MismatchError(Exception):
    """Two steps differ; the text names them and the difference."""


def match_structure(graph: Graph, foreign: Foreign) -> tuple[dict[int, Module], dict[int, float]]:
    """Pair layers, by node, with the file's arrays.

    Returns:
        The pairs, and the file's eps by batchnorm node. A batchnorm without a pair was folded into
        the preceding convolution.

    Raises:
        DataError: the networks differ; the error names the first difference, from the end.
    """
    if foreign.ops is None:
        raise ValueError(f"{foreign.place} does not say how its layers follow each other")
    walk = _Walk(graph, foreign.ops)
    try:
        walk.match(len(graph.nodes) - 1, len(foreign.ops) - 1)
    except MismatchError as error:
        rule = "the network must be the config's"
        raise DataError(foreign.place, rule, error) from error
    pairs, eps = {}, {}
    for ours, theirs in walk.pairs.items():
        op = foreign.ops[theirs]
        if op.module is not None and (graph.nodes[ours].layer.params):
            pairs[ours] = op.module
        if "eps" in op.facts:
            eps[ours] = float(op.facts["eps"])
    return pairs, eps


class _Walk:
    """A walk through both networks; `pairs` are the steps that were found equal."""

    def __init__(self, graph: Graph, ops: Sequence[Op]) -> None:
        self.graph = graph
        self.ops = ops
        self.pairs: dict[int, int] = {}

    def match(self, ours: int, theirs: int) -> None:
        """Walk both networks back from two tensors that should be equal."""
        while True:
            ours, theirs = self._ours(ours), self._theirs(theirs)
            if ours == IMAGE or theirs == INPUT:
                if ours == IMAGE and theirs == INPUT:
                    return
                raise MismatchError(f"{self._named(theirs)} where {self._our_name(ours)} should be")
            if ours in self.pairs:
                if self.pairs[ours] != theirs:
                    raise MismatchError(
                        f"{self._named(theirs)} is not what {self._our_name(ours)} is"
                    )
                return
            node, op = self.graph.nodes[ours], self.ops[theirs]
            if node.layer.kind == "batchnorm" and op.kind == "conv" and "bias" in _arrays(op):
                (ours,) = node.inputs  # folded
                if ours == IMAGE or self.graph.nodes[ours].layer.kind != "conv":
                    raise MismatchError(
                        f"{self._named(theirs)} where {node.name} (batchnorm) should be"
                    )
                node = self.graph.nodes[ours]
            before = self._compare(node, op)
            self.pairs[ours] = theirs
            if len(node.inputs) > 1:
                self._match_inputs(node, before)
                return
            (ours,), (theirs,) = node.inputs, before

    def _match_inputs(self, node: Node, theirs: tuple[int, ...]) -> None:
        orders = [theirs]
        if node.layer.kind in UNORDERED:
            orders.append(theirs[::-1])
        kept = dict(self.pairs)
        furthest: tuple[int, MismatchError] | None = None
        for order in orders:
            try:
                for pair in zip(node.inputs, order, strict=True):
                    self.match(*pair)
                return
            except MismatchError as mismatch:
                if furthest is None or len(self.pairs) > furthest[0]:
                    furthest = len(self.pairs), mismatch
                self.pairs = dict(kept)
        if furthest is not None:
            raise furthest[1]

    def _ours(self, tensor: int) -> int:
        while tensor != IMAGE and self.graph.nodes[tensor].layer.kind in PASSED_OVER:
            (tensor,) = self.graph.nodes[tensor].inputs
        return tensor

    def _theirs(self, tensor: int) -> int:
        while tensor != INPUT and (
            self.ops[tensor].kind in PASSED_OVER or self._is_unit_pool(tensor)
        ):
            (tensor,) = self.ops[tensor].inputs
        return tensor

    def _is_unit_pool(self, tensor: int) -> bool:
        """Whether a tensor comes from a pool with a window of one pixel."""
        facts = self.ops[tensor].facts
        pools = self.ops[tensor].kind in ("maxpool", "avgpool")
        return pools and facts["kernel_size"] == facts["stride"] == (1, 1)

    def _compare(self, node: Node, op: Op) -> tuple[int, ...]:
        """Check that two steps are equal; return the tensors that the file's step reads."""
        layer, facts, kind = node.layer, op.facts, node.layer.kind
        padded, inputs = self._padding_before(op)
        if isinstance(layer, Conv) and op.kind == "conv":
            self._same_window(node, op, padded, layer.geometry, layer.geometry.start)
            groups = facts["groups"] or layer.geometry.in_shape[2]
            self._agree(node, op, "groups", layer.geometry.groups, groups)
            self._agree(node, op, "dilation", layer.geometry.dilation, facts["dilation"])
        elif isinstance(layer, MaxPool | AvgPool) and op.kind == kind:
            if any(padded) and (kind == "avgpool" or not self._is_positive(inputs[0])):
                raise MismatchError(
                    f"{op.name} pads with zeros, which {node.name} ({kind}) does not"
                )
            self._same_pool(node, op, layer, padded)
        elif kind == "global_avgpool" and op.kind == "avgpool":
            whole = layer.in_shape[:2]
            self._agree(node, op, "kernel_size", whole, facts["kernel_size"])
        elif op.kind in (kind, OTHERWISE.get(kind)):
            self._same_arguments(node, op)
        elif isinstance(layer, Pad) and op.kind == "zeropad":
            rows, columns = facts["padding"]
            self._agree(node, op, "padding", layer.padding, (*rows, *columns))
            self._agree(node, op, "padding_mode", layer.padding_mode, "zeros")
        elif not (
            isinstance(layer, Linear)
            and op.kind == "conv"
            and _arrays(op)["weight"].shape[2:] == (1, 1)
        ):
            raise MismatchError(
                f"{self._named_op(op)} where {self._our_name(node.index)} should be"
            )
        if len(inputs) != len(node.inputs):
            raise MismatchError(
                f"{op.name} has {len(inputs)} inputs, {node.name} {len(node.inputs)}"
            )
        return inputs

    def _padding_before(self, op: Op) -> tuple[Padding, tuple[int, ...]]:
        """Return the zeros that an op of its own puts around an op's input, and the tensors that
        are then read.
        """
        before = op.inputs[0] if op.inputs else INPUT
        if "padding" in op.facts and before != INPUT and self.ops[before].kind == "zeropad":
            (top, bottom), (left, right) = self.ops[before].facts["padding"]
            if min(top, bottom, left, right) >= 0:
                return (top, bottom, left, right), self.ops[before].inputs
        return (0, 0, 0, 0), op.inputs

    def _same_pool(self, node: Node, op: Op, pool: MaxPool | AvgPool, padded: Padding) -> None:
        windows = pool.windows
        self._same_window(node, op, padded, windows, windows.padding)
        self._agree(node, op, "dilation", windows.dilation, op.facts.get("dilation", (1, 1)))
        if isinstance(pool, AvgPool) and not windows.inside:
            counts = op.facts.get("count_include_pad", False)  # unlike TensorFlow
            self._agree(node, op, "count_include_pad", pool.count_include_pad, counts)

    def _same_arguments(self, node: Node, op: Op) -> None:
        """Compare a layer's arguments, by their names in a config."""
        for key, theirs in op.facts.items():
            # `assemble` compensates for another eps of a batchnorm.
            if key != "eps" or node.layer.kind != "batchnorm":
                self._agree(node, op, key, getattr(node.layer, key), theirs)

    def _same_window(
        self,
        node: Node,
        op: Op,
        padded: Padding,
        ours: Geometry | Windows,
        start: tuple[int, int],
    ) -> None:
        """Compare windows: kernel, stride, start of the first one, and their number."""
        facts, size = op.facts, node.layer.in_shape[:2]
        kernel, stride = tuple(facts["kernel_size"]), tuple(facts["stride"])
        self._agree(node, op, "kernel_size", ours.kernel_size, kernel)
        self._agree(node, op, "stride", ours.stride, stride)
        for axis in (0, 1):
            before, after = padded[2 * axis], padded[2 * axis + 1]
            full = size[axis] + before + after
            reach = facts.get("dilation", (1, 1))[axis] * (kernel[axis] - 1) + 1
            if facts["padding"] == "same":
                outputs = ceil_div(full, stride[axis])
                total = max((outputs - 1) * stride[axis] + reach - full, 0)
                before += total // 2
            else:
                before += facts["padding"][2 * axis]
                full += sum(facts["padding"][2 * axis : 2 * axis + 2])
                rest = full - reach
                outputs = rest // stride[axis] + 1
                if facts.get("ceil_mode") and rest % stride[axis]:
                    outputs += 1
            side = ("above", "to the left")[axis]
            self._agree(node, op, f"padding {side}", start[axis], before)
            word = ("rows", "columns")[axis]
            self._agree(node, op, f"number of {word}", node.layer.out_shape[axis], outputs)

    def _agree(self, node: Node, op: Op, what: str, ours: Any, theirs: Any) -> None:
        # Files store such numbers in float32.
        same = isclose(ours, theirs, rel_tol=1e-6) if isinstance(ours, float) else ours == theirs
        if not same:
            raise MismatchError(f"{op.name} with {what} {theirs}, where {node.name} has {ours}")

    def _is_positive(self, tensor: int) -> bool:
        return tensor != INPUT and self.ops[tensor].kind in NOT_NEGATIVE

    def _our_name(self, tensor: int) -> str:
        if tensor == IMAGE:
            return "the image"
        node = self.graph.nodes[tensor]
        return f"{node.name} ({node.layer.kind})"

    def _named(self, tensor: int) -> str:
        return "the input" if tensor == INPUT else self._named_op(self.ops[tensor])

    def _named_op(self, op: Op) -> str:
        return f"{op.name} ({op.kind})"


def _arrays(op: Op) -> Any:
    return {} if op.module is None else op.module.arrays
