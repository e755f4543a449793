"""Names for what the kernels, the layers and the engine pass around."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]
Saved = Array | Arrays | None
"""What a layer's forward keeps for its backward."""
Shape = tuple[int, ...]
Pair = tuple[int, int]


class Scratch(Protocol):
    """Gives uninitialized memory by name and shape, until the same name is asked for again.

    Without a dtype it is that of activations.
    """

    def __call__(self, name: str, shape: Shape, dtype: DTypeLike | None = None, /) -> Array: ...
