"""Type aliases shared by kernels, layers and engine."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Saved = Array | Arrays | None
"""What a layer's forward saves for its backward."""
Shape = tuple[int, ...]
Pair = tuple[int, int]


class Scratch(Protocol):
    """Returns uninitialized memory by name and shape, valid until the same name is requested again.

    The default dtype is that of activations.
    """

    def __call__(self, name: str, shape: Shape, dtype: DTypeLike | None = None, /) -> Array: ...
