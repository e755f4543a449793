"""Views track which axis of a foreign tensor is batch, channels, rows or columns.

Foreign networks reshape and transpose without changing values: into groups of channels and back, to
channels last and back, to a vector. A view follows that, so operators are interpreted by their
effect on the image, in any layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from cnn_cli.nn.types import Shape

Atom = tuple[str, int]
Axis = tuple[Atom, ...]
BATCH, CHANNELS, OUTER, INNER = "n", "c", "c/outer", "c/inner"
SPACE = ("z", "y", "x")


class LayoutError(ValueError):
    """The order of values does not correspond to an image."""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor.

    Attributes:
        op: position of the op of which it is the output.
        axes: what each axis contains, slowest first; axes of length 1 are omitted, except the
            batch. Split channels are `c/outer` and `c/inner`.
    """

    op: int
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> Shape:
        return tuple(prod(size for _, size in axis) for axis in self.axes)

    def labels(self, axis: int) -> list[str]:
        return [label for label, _ in self.axes[axis]]

    @property
    def batch(self) -> int:
        return next((size for axis in self.axes for label, size in axis if label == BATCH), 1)

    def transposed(self, perm: Sequence[int]) -> View:
        return View(self.op, tuple(self.axes[axis] for axis in perm))

    def reshaped(self, shape: Sequence[int], zeros: bool = False) -> View:
        """Return a view of the same values in the same order with another shape.

        Args:
            shape: may contain one -1, and 0 for an unchanged length.
            zeros: 0 means length 0 instead.

        Raises:
            LayoutError: the lengths do not fit, or would split something other than channels.
        """
        lengths = [self.shape[i] if n == 0 and not zeros else n for i, n in enumerate(shape)]
        whole = prod(self.shape)
        if -1 in lengths:
            rest = -prod(lengths)
            lengths[lengths.index(-1)] = whole // rest if rest else 0
        if prod(lengths) != whole or min(lengths, default=1) < 1:
            raise LayoutError(f"{whole} numbers cannot have the shape {tuple(lengths)}")
        atoms = [atom for axis in self.axes for atom in axis]
        axes = []
        for i, length in enumerate(lengths):
            axis: list[Atom] = []
            if i == 0 and atoms and atoms[0][0] == BATCH:
                axis.append(atoms.pop(0))
            while prod(size for _, size in axis) < length:
                label, size = atoms.pop(0)
                left, over = divmod(length, prod(size for _, size in axis))
                if over or (size > left and (size % left or label != CHANNELS)):
                    raise LayoutError(f"{label} cannot be cut in {left}")
                if size > left:
                    atoms.insert(0, (INNER, size // left))
                    label, size = OUTER, left
                axis.append((label, size))
            if prod(size for _, size in axis) != length:
                raise LayoutError(f"an axis of {length} would mix images")
            axes.append(tuple(axis))
        return View(self.op, tuple(map(_whole, axes)))

    def squeezed(self, axes: Sequence[int] | None) -> View:
        """Remove axes of length 1: the given ones, or all but the batch."""
        rank = len(self.axes)
        gone = {axis % rank for axis in axes} if axes is not None else _single(self)
        if any(self.axes[axis] for axis in gone):
            raise LayoutError("only an axis of one place can be left out")
        return View(self.op, tuple(axis for i, axis in enumerate(self.axes) if i not in gone))

    def unsqueezed(self, axes: Sequence[int]) -> View:
        """Insert axes of length 1 at these final positions."""
        rank = len(self.axes) + len(axes)
        new = {axis % rank for axis in axes}
        old = iter(self.axes)
        return View(self.op, tuple(() if i in new else next(old) for i in range(rank)))

    def dealt(self) -> int | None:
        """Return the number of groups if this is the view of a channel shuffle, else None."""
        for axis in self.axes:
            labels = [label for label, _ in axis]
            if labels == [INNER, OUTER]:
                return axis[1][1]
        return None

    def is_map(self) -> bool:
        """Whether it is (n, c, rows, columns), possibly with shuffled channels."""
        if len(self.axes) < 2 or self.labels(0) != [BATCH]:
            return False
        space = SPACE[len(SPACE) - (len(self.axes) - 2) :] if len(self.axes) > 2 else ()
        return self.labels(1) in ([], [CHANNELS], [INNER, OUTER]) and all(
            set(self.labels(2 + i)) <= {label} for i, label in enumerate(space)
        )

    def channel_axis(self) -> int | None:
        """Return the axis that contains all channels and nothing else, or None."""
        found = [i for i in range(len(self.axes)) if self.labels(i) == [CHANNELS]]
        return found[0] if len(found) == 1 else None

    def stacked(self, op: int, count: int, axis: int) -> View:
        """Return the output of an op that joins `count` such images along an axis.

        Args:
            op: position of the op.
            axis: an axis of length 1, right before that of the channels.
        """
        ((_, channels),) = self.axes[axis + 1]
        parts: tuple[Axis, ...] = (((OUTER, count),), ((INNER, channels),))
        return View(op, (*self.axes[:axis], *parts, *self.axes[axis + 2 :]))

    def summed(self, op: int, axis: int, *, keep: bool) -> View:
        """Return the output of an op that adds up the parts of the channels along an axis."""
        axes = [
            ()
            if i == axis
            else tuple((CHANNELS if label == INNER else label, n) for label, n in each)
            for i, each in enumerate(self.axes)
            if keep or i != axis
        ]
        return View(op, tuple(axes))

    def with_channels(self, op: int, count: int, axis: int) -> View:
        """Return the output of an op that changes the number of channels."""
        new: Axis = ((CHANNELS, count),) if count > 1 else ()
        return View(op, (*self.axes[:axis], new, *self.axes[axis + 1 :]))


def image_view(op: int, batch: int, shape: Shape) -> View:
    """Return (n, c, rows, columns) of an image (rows, columns, channels), or (n, features)."""
    *sizes, channels = shape
    labels = SPACE[len(SPACE) - len(sizes) :] if sizes else ()
    space = (_axis(label, size) for label, size in zip(labels, sizes, strict=True))
    return View(op, (((BATCH, batch),), _axis(CHANNELS, channels), *space))


def _axis(label: str, size: int) -> Axis:
    return ((label, size),) if size > 1 else ()


def _single(view: View) -> set[int]:
    return {i for i, axis in enumerate(view.axes) if not axis}


def _whole(axis: Axis) -> Axis:
    """Merge split channels that are adjacent and in order."""
    labels = [label for label, _ in axis]
    if [OUTER, INNER] in (labels[i : i + 2] for i in range(len(labels))):
        at = labels.index(OUTER)
        return (*axis[:at], (CHANNELS, axis[at][1] * axis[at + 1][1]), *axis[at + 2 :])
    return axis
