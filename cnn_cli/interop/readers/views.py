"""What a tensor of another program is of: which axis holds which of batch, channels, rows, columns.

Such programs reshape and transpose without changing a number: into groups of channels and back,
channels last and back, to a vector. A view follows that, so that an operator is read by what it
does to the image whatever the layout it does it in.
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
    """Numbers that are dealt out as no layer of an image does it."""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor.

    Attributes:
        op: position of the op whose output it is.
        axes: what each axis runs over, the slowest first; what has one place is left out, apart
            from the batch. Channels in two parts are `c/outer` and `c/inner`.
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
        """The same numbers in the same order, on other axes.

        Args:
            shape: may hold one -1, and 0 for as many as there were.
            zeros: 0 is none instead.

        Raises:
            LayoutError: a length cannot be, or would cut more than channels.
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
        """Without axes of one place: those, or all but the batch's."""
        rank = len(self.axes)
        gone = {axis % rank for axis in axes} if axes is not None else _single(self)
        if any(self.axes[axis] for axis in gone):
            raise LayoutError("only an axis of one place can be left out")
        return View(self.op, tuple(axis for i, axis in enumerate(self.axes) if i not in gone))

    def unsqueezed(self, axes: Sequence[int]) -> View:
        """With further axes of one place, which are there afterwards."""
        rank = len(self.axes) + len(axes)
        new = {axis % rank for axis in axes}
        old = iter(self.axes)
        return View(self.op, tuple(() if i in new else next(old) for i in range(rank)))

    def dealt(self) -> int | None:
        """The groups of a channel shuffle that this view's channels have gone through, if so."""
        for axis in self.axes:
            labels = [label for label, _ in axis]
            if labels == [INNER, OUTER]:
                return axis[1][1]
        return None

    def is_map(self) -> bool:
        """Whether it is (n, c, rows, columns), with channels whole or dealt anew."""
        if len(self.axes) < 2 or self.labels(0) != [BATCH]:
            return False
        space = SPACE[len(SPACE) - (len(self.axes) - 2) :] if len(self.axes) > 2 else ()
        return self.labels(1) in ([], [CHANNELS], [INNER, OUTER]) and all(
            set(self.labels(2 + i)) <= {label} for i, label in enumerate(space)
        )

    def channel_axis(self) -> int | None:
        """The axis of all channels and nothing else; None where there is none."""
        found = [i for i in range(len(self.axes)) if self.labels(i) == [CHANNELS]]
        return found[0] if len(found) == 1 else None

    def stacked(self, op: int, count: int, axis: int) -> View:
        """The output of an op that joins as many such images along an axis of one place, right
        before that of their channels.
        """
        ((_, channels),) = self.axes[axis + 1]
        parts: tuple[Axis, ...] = (((OUTER, count),), ((INNER, channels),))
        return View(op, (*self.axes[:axis], *parts, *self.axes[axis + 2 :]))

    def summed(self, op: int, axis: int, *, keep: bool) -> View:
        """The output of an op that adds up the parts of the channels, which run along an axis."""
        axes = [
            ()
            if i == axis
            else tuple((CHANNELS if label == INNER else label, n) for label, n in each)
            for i, each in enumerate(self.axes)
            if keep or i != axis
        ]
        return View(op, tuple(axes))

    def with_channels(self, op: int, count: int, axis: int) -> View:
        """The output of an op that changes the number of channels."""
        new: Axis = ((CHANNELS, count),) if count > 1 else ()
        return View(op, (*self.axes[:axis], new, *self.axes[axis + 1 :]))


def image_view(op: int, batch: int, shape: Shape) -> View:
    """(n, c, rows, columns) of an image (rows, columns, channels), or (n, features)."""
    *sizes, channels = shape
    labels = SPACE[len(SPACE) - len(sizes) :] if sizes else ()
    space = (_axis(label, size) for label, size in zip(labels, sizes, strict=True))
    return View(op, (((BATCH, batch),), _axis(CHANNELS, channels), *space))


def _axis(label: str, size: int) -> Axis:
    return ((label, size),) if size > 1 else ()


def _single(view: View) -> set[int]:
    return {i for i, axis in enumerate(view.axes) if not axis}


def _whole(axis: Axis) -> Axis:
    """Channels in two parts, one after the other as they were, are whole again."""
    labels = [label for label, _ in axis]
    if [OUTER, INNER] in (labels[i : i + 2] for i in range(len(labels))):
        at = labels.index(OUTER)
        return (*axis[:at], (CHANNELS, axis[at][1] * axis[at + 1][1]), *axis[at + 2 :])
    return axis
