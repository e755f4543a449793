"""Objects that hold threads or files until they are closed."""

from __future__ import annotations

from typing import Self


class Closing:
    """Base class of context managers that are closed at the end of their ``with`` block."""

    def close(self) -> None:
        """End the threads, or close the files, that this object holds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
