"""Type aliases shared by kernels, layers and engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Saved = Array | Arrays | None
"""What a layer's forward saves for its backward."""
Shape = tuple[int, ...]
Pair = tuple[int, int]


class Share(Protocol):
    """Calls `act(first, end)` for parts of 0..count, on as many threads as have nothing to do."""

    def __call__(self, count: int, act: Callable[[int, int], None], /) -> None: ...


def whole(count: int, act: Callable[[int, int], None], /) -> None:
    """A `Share` where nobody else is free."""
    act(0, count)


class Scratch(Protocol):
    """Returns uninitialized memory by name and shape, valid until the same name is requested again.

    The default dtype is that of activations.
    """

    def __call__(self, name: str, shape: Shape, dtype: DTypeLike | None = None, /) -> Array: ...
