"""Choose the kernels: the requested backend, or the fastest that is worth loading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

from cnn_cli.errors import UsageError, size_text
from cnn_cli.nn.fuse import kernel_kinds
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.kernels.interface import NUMPY, Kernels
from cnn_cli.nn.kernels.paths import Backend
from cnn_cli.portable import address_space_left

# Number of images from which on compiled kernels pay off for prediction: importing numba and
# loading kernels from its cache takes 0.3 s, in which small networks predict some hundred images.
BULK = 1000
# Address space for numba and LLVM, which map up to 270 MB, and for threads; LLVM aborts the process
# if it gets none.
ADDRESS_SPACE = 512 * 2**20


def choose_backend(*asked: str | None) -> Backend:
    """Return the first backend requested; else `fast` if numba is installed and has room, or
    `numpy`.

    Numba is not imported for this.
    """
    for name in asked:
        if name is not None:
            return "numpy" if name == "numpy" else "fast"
    return "numpy" if find_spec("numba") is None or _lacks_room() else "fast"


def _lacks_room() -> str | None:
    """Return why numba cannot be imported under the limit of `ulimit -v`, or None."""
    left = address_space_left()
    if left is None or left >= ADDRESS_SPACE:
        return None
    return f"they take {size_text(ADDRESS_SPACE)} of address space. Got {size_text(left)}"


def backend_for(images: int) -> Backend:
    """Return the backend for predicting this many images, if none was requested."""
    return choose_backend() if images >= BULK else "numpy"


def training_backend(asked: str | None, resumed: str | None) -> Backend:
    """Return the backend to train with.

    Args:
        asked: the one requested on the command line.
        resumed: the one in the resumed run's checkpoint.

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
        load_backend(name)  # raises the same error as for an option
    return name


def open_kernels(
    name: str,
    graph: Graph,
    dtype: str,
    note: Callable[[str], None],
    also: Iterable[str] = (),
) -> Kernels:
    """Load the kernels of a backend, compiled for a network if necessary.

    Args:
        name: `numpy` or `fast`.
        graph: the network.
        dtype: dtype of the activations.
        note: receives one line when kernels are compiled, or why they cannot be.
        also: further kinds of kernels, which no layer of the network uses.

    Raises:
        UsageError: `fast` without numba.
    """
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        note(text)

    # kernel_kinds imports normalizations.
    kinds = None if name == "numpy" else {*kernel_kinds(graph), *also}
    kernels = load_backend(name, dtype=dtype, kinds=kinds, say=say)
    if kernels.note and not (told and kernels.name == "fast"):
        note(kernels.note)
    return kernels


def numpy_kernels() -> Kernels:
    """Return the NumPy kernels."""
    return NUMPY


def load_backend(
    name: str,
    *,
    dtype: str = "float32",
    kinds: Iterable[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Kernels:
    """Load the kernels of a backend, compiled if requested.

    Args:
        name: `numpy`, `fast`, or `auto`, which is `fast` if numba is installed.
        dtype: dtype of the activations. Kernels for other dtypes are compiled on their first call.
        kinds: `fuse.kernel_kinds` of the network, to compile only its kernels ahead; by default
            all.
        say: called before kernels are compiled, which takes time.

    Returns:
        Compiled kernels; or NumPy kernels with a note if numba fails, lacks memory, or has no cache
        folder.

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
