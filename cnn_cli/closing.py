"""Objects that hold threads or files until they are closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Base class of context managers that are closed at the end of their ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """End the threads, or close the files, that this object holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
