"""How many threads NumPy's products run on: the engine has threads of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np

from cnn_cli.threads import blas_was_told

OURS = "scipy-openblas"
"""The BLAS of NumPy's wheels, which keeps to `OPENBLAS_NUM_THREADS`."""


class Blas:
    """NumPy's BLAS, with one thread until `close`."""

    def __init__(self) -> None:
        told = blas_was_told() and _name() == OURS
        self._limits = None if told else self._controller.limit(limits=1, user_api="blas")

    def threads(self, count: int) -> AbstractContextManager[object]:
        """Have products run on so many threads meanwhile."""
        if count == 1 and self._limits is None:
            return nullcontext()
        limits: AbstractContextManager[object] = self._controller.limit(
            limits=count, user_api="blas"
        )
        return limits

    def close(self) -> None:
        """Give BLAS back the threads that it had."""
        if self._limits is not None:
            self._limits.restore_original_limits()

    @cached_property
    def _controller(self) -> Any:
        from threadpoolctl import ThreadpoolController  # which looks at every library there is

        return ThreadpoolController()


def _name() -> str:
    """Of the BLAS that NumPy was built with."""
    built: Any = np.show_config(mode="dicts")
    return str(built["Build Dependencies"]["blas"]["name"])
