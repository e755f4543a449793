"""The kernels that layers call, in NumPy or compiled, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import ClassVar

from cnn_cli.errors import UsageError
from cnn_cli.nn.kernels import depthwise, im2col, norm, pool, winograd
from cnn_cli.nn.kernels.activation import ActivationFunction
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.nn.types import Array, Scratch


class Kernels:
    """What layers compute with, as `RunContext.kernels`; here the NumPy forms.

    Attributes:
        name: `numpy` or `fast`, as `--backend` names it.
        note: a line for the user about how the kernels were come by, if there is one.
    """

    name: ClassVar[Backend] = "numpy"

    def __init__(self, note: str | None = None) -> None:
        self.note = note

    def activate(
        self, function: ActivationFunction, x: Array, y: Array, scratch: Scratch, *numbers: float
    ) -> None:
        """Write the activation of x to y, which may be x itself; one shape, contiguous."""
        function.forward(x, y, scratch, *numbers)

    def activate_backward(
        self,
        function: ActivationFunction,
        dy: Array,
        saved: Array,
        scratch: Scratch,
        *numbers: float,
    ) -> None:
        """Multiply dy by the derivative at `saved`, x or y as the function reads."""
        function.backward(dy, saved, scratch, *numbers)

    moments = staticmethod(norm.moments)
    normalize = staticmethod(norm.normalize)
    gradient_sums = staticmethod(norm.gradient_sums)
    normalize_backward = staticmethod(norm.normalize_backward)

    max_pool = staticmethod(pool.max_pool)
    max_pool_backward = staticmethod(pool.max_pool_backward)
    avg_pool = staticmethod(pool.avg_pool)
    avg_pool_backward = staticmethod(pool.avg_pool_backward)

    depthwise_forward = staticmethod(depthwise.forward)
    depthwise_weight_gradient = staticmethod(depthwise.weight_gradient)
    depthwise_input_gradient = staticmethod(depthwise.input_gradient)
    col2im = staticmethod(im2col.col2im)
    winograd: winograd.Transforms = winograd.NUMPY


NUMPY = Kernels()


def numpy_kernels() -> Kernels:
    """The NumPy forms."""
    return NUMPY


def load_backend(
    name: str,
    *,
    dtype: str = "float32",
    kinds: Iterable[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Kernels:
    """The kernels of a backend, compiled where that is asked for.

    Args:
        name: `numpy`; `fast`; or `auto`, which is `fast` where numba is installed.
        dtype: of activations. Kernels for another one are compiled when they are first called.
        kinds: `fuse.kernel_kinds` of the network, whose kernels alone are then compiled ahead;
            all by default.
        say: told, before it takes its time, that kernels are compiled.

    Returns:
        Compiled kernels, or where numba fails or nothing can be cached the NumPy forms, with a
        note that says why.

    Raises:
        UsageError: `fast` without numba.
    """
    if name == "numpy":
        return numpy_kernels()
    if find_spec("numba") is None:
        if name == "auto":
            return numpy_kernels()
        rule = "needs numba; install it with pip install 'cnn-cli[fast]'"
        raise UsageError("--backend fast", rule)
    from cnn_cli.nn.kernels.compiled import CannotCompileError, fast_kernels

    try:
        return fast_kernels(dtype, kinds, say)
    except CannotCompileError as error:
        return Kernels(f"plain NumPy, no compiled kernels: {error}")
