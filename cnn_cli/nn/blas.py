"""The number of BLAS threads: the engine has threads of its own, so BLAS uses one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np

from cnn_cli.threads import blas_was_told

OURS = "scipy-openblas"
"""The BLAS in NumPy's wheels, which respects `OPENBLAS_NUM_THREADS`."""


class Blas:
    """Limits NumPy's BLAS to one thread until `close`."""

    def __init__(self) -> None:
        told = blas_was_told() and _name() == OURS
        self._limits = None if told else self._controller.limit(limits=1, user_api="blas")

    def threads(self, count: int) -> AbstractContextManager[object]:
        """Context in which matrix products use `count` threads."""
        if count == 1 and self._limits is None:
            return nullcontext()
        limits: AbstractContextManager[object] = self._controller.limit(
            limits=count, user_api="blas"
        )
        return limits

    def close(self) -> None:
        """Restore the number of BLAS threads."""
        if self._limits is not None:
            self._limits.restore_original_limits()

    @cached_property
    def _controller(self) -> Any:
        from threadpoolctl import ThreadpoolController  # inspects every loaded library

        return ThreadpoolController()


def _name() -> str:
    """Return the name of NumPy's BLAS."""
    built: Any = np.show_config(mode="dicts")
    return str(built["Build Dependencies"]["blas"]["name"])
