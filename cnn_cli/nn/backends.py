"""Which kernels compute: what was asked for, or the best that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

from cnn_cli.errors import UsageError, size_text
from cnn_cli.nn.fuse import kernel_kinds
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.portable import address_space_left

# Images to predict from which on compiled kernels pay: importing numba and fetching them from the
# cache takes 0.3 s, in which the smaller networks predict some hundreds.
BULK = 1000
# Numba and LLVM, which ends the process where it can have no more, map up to 270 MB of addresses;
# threads need some as well.
ADDRESS_SPACE = 512 * 2**20


def choose_backend(*asked: str | None) -> Backend:
    """The first that was asked for; else `fast` where numba is installed and has room, or `numpy`.

    Numba is not imported for that.
    """
    for name in asked:
        if name is not None:
            return "numpy" if name == "numpy" else "fast"
    return "numpy" if find_spec("numba") is None or _lacks_room() else "fast"


def _lacks_room() -> str | None:
    """Why numba cannot be imported, where `ulimit -v` limits the address space."""
    left = address_space_left()
    if left is None or left >= ADDRESS_SPACE:
        return None
    return f"they take {size_text(ADDRESS_SPACE)} of address space. Got {size_text(left)}"


def backend_for(images: int) -> Backend:
    """The backend to predict so many images with, where none was asked for."""
    return choose_backend() if images >= BULK else "numpy"


def training_backend(asked: str | None, resumed: str | None) -> Backend:
    """The backend to train with.

    Args:
        asked: on the command line.
        resumed: in the checkpoint of the run that goes on.

    Raises:
        UsageError: `fast` without numba.
    """
    name = choose_backend(asked, resumed)
    if name == "fast" and find_spec("numba") is None:
        if asked is None:
            rule = (
                "the run was trained with the backend fast, which needs numba; install it with "
                "pip install 'cnn-cli[fast]', or go on with --backend numpy"
            )
            raise UsageError("--resume", rule)
        load_backend(name)  # says the same of an option
    return name


def open_kernels(name: str, graph: Graph, dtype: str, note: Callable[[str], None]) -> Kernels:
    """The kernels of a backend, compiled for a network where they must be.

    Args:
        name: `numpy` or `fast`.
        dtype: of activations.
        note: told in one line that kernels are compiled, or why they cannot be.

    Raises:
        UsageError: `fast` without numba.
    """
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        note(text)

    kernels = load_backend(name, dtype=dtype, kinds=kernel_kinds(graph), say=say)
    if kernels.note and not (told and kernels.name == "fast"):
        note(kernels.note)
    return kernels


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
        Compiled kernels, or where numba fails, has no room, or nothing can be cached the NumPy
        forms, with a note that says why.

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
    if short := _lacks_room():
        return Kernels(f"plain NumPy, no compiled kernels: {short}")
    from cnn_cli.nn.kernels.compiled import CannotCompileError, fast_kernels

    try:
        return fast_kernels(dtype, kinds, say)
    except CannotCompileError as error:
        return Kernels(f"plain NumPy, no compiled kernels: {error}")
