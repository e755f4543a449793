"""The loops compiled by numba for this machine, and cached in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from types import FunctionType
from typing import Any

from cnn_cli.errors import reason
from cnn_cli.nn.kernels import loops, paths, vector
from cnn_cli.nn.kernels.activation import ACTIVATIONS, ActivationFunction
from cnn_cli.nn.kernels.fast import Loop, LoopKernels
from cnn_cli.nn.kernels.loops import (
    activation,
    depthwise,
    direct,
    im2col,
    norm,
    pool,
    resample,
    winograd,
)
from cnn_cli.system import user_cache_folder

Signatures = tuple[tuple[Callable[..., Any], str], ...]


def _of_activation(function: ActivationFunction) -> Signatures:
    if function.loop != activation.NONE:
        return (
            (activation.activate, "x1 x1 i"),
            (activation.activate_backward, "x1 x1 i"),
        )
    return tuple((loop, "x1 x1 f") for loop in function.loops or ())


# Signatures to compile ahead for each kind of layer and convolution path, and for augmentation's
# resampling. x, d, u and n are C-contiguous arrays of activations, float64, uint8 and int32, with
# the given number of dimensions; i is an integer, p a pair of integers, f a float.
SIGNATURES: dict[str, Signatures] = {
    **{kind: _of_activation(function) for kind, function in ACTIVATIONS.items()},
    "batchnorm": (
        (norm.moments, "x3 d2 d2"),
        (norm.normalize, "x3 d2 d2 x1 x1 i x3"),
        (norm.gradient_sums, "x3 x3 d2 d2 x1 x1 i d3"),
        (norm.normalize_backward, "x3 x3 d2 d2 x1 d2 d2"),
    ),
    "maxpool": (
        (pool.max_pool, "x4 p p p i x4 u4"),
        (pool.max_pool_2x2, "x4 p i x4 u4"),
        (pool.max_pool_3x3, "x4 p p i x4 u4"),
        (pool.max_pool_backward, "x4 u4 p p p x4"),
        (pool.max_pool_backward_2x2, "x4 u4 p x4"),
    ),
    "avgpool": (
        (pool.avg_pool, "x4 p p p x3 x4"),
        (pool.avg_pool_backward, "x4 p p p x3 x4"),
    ),
    "im2col": ((im2col.col2im, "x7 p p p i x4"),),
    "winograd": (
        (winograd.window_transform, "x4 i i x5 x1"),
        (winograd.block_transform, "x4 i x5 x1"),
        (winograd.output_transform, "x5 x4 i x1"),
    ),
    "depthwise": (
        (depthwise.forward, "x4 x4 p p p x4"),
        (depthwise.weight_gradient, "x4 x4 p p p x4"),
        (depthwise.input_gradient, "x4 x4 p p p x4"),
        (direct.depthwise, "x4 x4 x1 f f p p p p x4"),
    ),
    "direct": ((direct.forward, "x4 x3 x1 f f i p i p p x4"),),
    "resample": (
        (resample.resample_vertically, "u2 i i n1 n2 u2"),
        (resample.resample_horizontally, "u2 i i i n1 n2 i u2"),
    ),
}
SIGNATURES["groupnorm"] = SIGNATURES["batchnorm"]


class CannotCompileError(Exception):
    """Why there are no compiled kernels, in one line."""


def fast_kernels(
    dtype: str = "float32",
    kinds: Iterable[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> LoopKernels:
    """Return kernels compiled for this machine; arguments as in `backends.load_backend`.

    Raises:
        CannotCompileError: numba failed, or there is no usable cache folder.
    """
    started = perf_counter()
    folder = _cache_folder()
    chosen = SIGNATURES if kinds is None else {kind: SIGNATURES.get(kind, ()) for kind in kinds}
    signatures = tuple(dict.fromkeys(pair for pairs in chosen.values() for pair in pairs))
    if say is not None and not any(folder.iterdir()):
        say("compiling kernels, once")
    try:
        with warnings.catch_warnings():  # numba warns about its own code
            warnings.simplefilter("ignore")
            try:
                compiler = Compiler(folder)
                compiled = compiler.ahead(signatures, dtype)
            except Exception:  # of any kind, if the cache is damaged
                shutil.rmtree(folder, ignore_errors=True)
                compiler = Compiler(_cache_folder())
                compiled = compiler.ahead(signatures, dtype)
    except CannotCompileError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise CannotCompileError(f"numba failed ({type(error).__name__}: {lines[0]})") from error
    seconds = perf_counter() - started
    return LoopKernels(compiler, f"compiled kernels, once: {seconds:.0f} s" if compiled else None)


def _cache_folder() -> Path:
    """Return the cache folder for these loops.

    Raises:
        CannotCompileError: it cannot be created or written, or other users can write to it.
    """
    top = user_cache_folder()
    folder = top / "numba" / version()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CannotCompileError(f"{folder} cannot be written")
        # Code in it is executed, so nobody else may write to it.
        ours = _only_ours(folder, stat.S_IWGRP | stat.S_IWOTH)
        if not (ours and _only_ours(folder.parent, stat.S_IWOTH) and _only_ours(top, stat.S_IWOTH)):
            raise CannotCompileError(f"others can write to {folder}")
    except OSError as error:
        raise CannotCompileError(f"{folder} cannot be made ({reason(error)})") from error
    return folder


def version() -> str:
    """Return a version of what is compiled: numba detects changes in one file only."""
    others = Path(vector.__file__), Path(paths.__file__)
    sources = [*sorted(Path(loops.__file__).parent.glob("*.py")), *others]
    return sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _only_ours(folder: Path, modes: int) -> bool:
    status = folder.stat()
    return not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & modes
    )


class Compiler:
    """Compiles a loop and the functions that it calls.

    Args:
        folder: the cache folder.
    """

    def __init__(self, folder: Path) -> None:
        import numba

        self.folder = folder
        self._numba = numba
        self._compiled: dict[Callable[..., Any], Any] = vector.vectors()

    def __call__(self, loop: Loop, /) -> Loop:
        """Return the loop's compiled form; compilation happens in `ahead` or on its first call."""
        found: Loop | None = self._compiled.get(loop)
        if found is None:
            found = self._compiled[loop] = self._cached(loop)
        return found

    def ahead(self, signatures: Iterable[tuple[Callable[..., Any], str]], dtype: str) -> bool:
        """Compile, or load from the cache; return whether anything was compiled."""
        missed = False
        for loop, signature in signatures:
            dispatcher: Any = self(loop)
            dispatcher.compile(tuple(self._type(code, dtype) for code in signature.split()))
            missed |= bool(dispatcher.stats.cache_misses)
        return missed

    def _cached(self, loop: Callable[..., Any]) -> Any:
        config = self._numba.config
        elsewhere = config.CACHE_DIR
        try:
            config.CACHE_DIR = str(self.folder)  # read when the dispatcher is created
            return self._dispatcher(loop, cache=True)
        finally:
            config.CACHE_DIR = elsewhere

    def _dispatcher(self, loop: Callable[..., Any], *, cache: bool = False) -> Any:
        if not isinstance(loop, FunctionType):
            raise TypeError(f"{loop} is not written in Python")
        names = {}
        for name in loop.__code__.co_names:
            called = loop.__globals__.get(name)
            if isinstance(called, FunctionType) and called.__module__.startswith(loops.__name__):
                if called not in self._compiled:
                    self._compiled[called] = self._dispatcher(called)
                names[name] = self._compiled[called]
        # The same code, with compiled forms of the functions that it calls.
        linked = FunctionType(loop.__code__, loop.__globals__ | names, loop.__name__)
        return self._numba.njit(
            linked, nogil=True, cache=cache, error_model="numpy", fastmath={"contract"}
        )

    def _type(self, code: str, dtype: str) -> Any:
        types = self._numba.types
        if code in ("i", "f", "p"):
            return {"i": types.int64, "f": types.float64, "p": types.UniTuple(types.int64, 2)}[code]
        x = getattr(types, dtype)
        elements = {"x": x, "d": types.float64, "u": types.uint8, "n": types.int32}
        return types.Array(elements[code[0]], int(code[1:]), "C")
