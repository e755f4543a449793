"""Compiled kernels: their cache, and plain NumPy if they cannot be compiled."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from cnn_cli.errors import UsageError
from cnn_cli.nn import backends
from cnn_cli.nn.backends import load_backend
from cnn_cli.nn.kernels import compiled, loops
from cnn_cli.nn.kernels.activation import ACTIVATIONS
from cnn_cli.nn.kernels.interface import Kernels
from cnn_cli.nn.kernels.loops import activation
from cnn_cli.nn.types import Array

KINDS = ["leaky_relu", "linear"]  # little to compile, and nothing
needs_numba = pytest.mark.skipif(util.find_spec("numba") is None, reason="numba is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cnn" / "numba"


def load(name: str = "fast") -> tuple[Kernels, list[str]]:
    lines: list[str] = []
    return load_backend(name, kinds=KINDS, say=lines.append), lines


def apply_leaky(kernels: Kernels, x: Array, slope: float) -> None:
    function = ACTIVATIONS["leaky_relu"]
    kernels.activate(function, x, x, lambda name, shape, dtype=None, /: np.empty_like(x), slope)


def leaky(kernels: Kernels) -> list[float]:
    x = np.array([-2, 3], np.float32)
    apply_leaky(kernels, x, 0.5)
    return [float(v) for v in x]


def test_numpy_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", None)
    kernels, lines = load("numpy")
    assert (kernels.name, kernels.note, lines) == ("numpy", None, [])


def test_without_room_for_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "address_space_left", lambda: 300_000_000)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    assert backends.choose_backend() == "numpy"
    assert backends.choose_backend("fast") == "fast"
    kernels, lines = load("fast")
    why = "they take 536.9 MB of address space. Got 300.0 MB"
    assert kernels.note == f"plain NumPy, no compiled kernels: {why}"
    assert (kernels.name, lines) == ("numpy", [])


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    kernels, lines = load("auto")
    assert (kernels.name, kernels.note, lines) == ("numpy", None, [])
    with pytest.raises(UsageError) as error:
        load()
    expected = "--backend fast: needs numba; install it with pip install 'cnn-cli[fast]'."
    assert error.value.line() == expected


def test_numba_is_imported_for_compiled_kernels_only() -> None:
    program = (
        "import sys\n"
        "import cnn_cli.nn.engine, cnn_cli.nn.kernels.fast\n"
        "from cnn_cli.nn.backends import load_backend\n"
        "load_backend('numpy')\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@needs_numba
def test_compiled_once(cache: Path) -> None:
    kernels, lines = load("auto")
    assert kernels.name == "fast"
    assert kernels.note is not None
    assert kernels.note.startswith("compiled kernels, once: ")
    assert kernels.note.endswith(" s")
    assert lines == ["compiling kernels, once"]
    assert leaky(kernels) == [-1, 3]
    again, lines = load()
    assert (again.name, again.note, lines) == ("fast", None, [])
    assert leaky(again) == [-1, 3]


@needs_numba
def test_a_damaged_cache_is_made_anew(cache: Path) -> None:
    load()
    files = [path for path in cache.rglob("*.nb?") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"\x80damaged")
    kernels, _ = load()
    assert kernels.name == "fast"
    assert leaky(kernels) == [-1, 3]
    assert load()[0].note is None


@needs_numba
def test_changed_loops_are_not_taken_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    package = tmp_path / "loops"
    package.mkdir()
    (package / "__init__.py").write_text("# other loops")
    monkeypatch.setattr(loops, "__file__", str(package / "__init__.py"))
    note = load()[0].note
    assert note is not None
    assert note.startswith("compiled kernels")


def no_kernels(why: str) -> None:
    kernels, _ = load()
    assert kernels.name == "numpy"
    assert kernels.note == f"plain NumPy, no compiled kernels: {why}"


@needs_numba
def test_numba_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compiled.SIGNATURES, "leaky_relu", ((activation.leaky_relu, "x2 x1 f"),))
    kernels, _ = load()
    assert kernels.name == "numpy"
    assert kernels.note is not None
    assert kernels.note.startswith("plain NumPy, no compiled kernels: numba failed (TypingError: ")
    assert "\n" not in kernels.note


@needs_numba
def test_numba_cannot_be_imported(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numba.py").write_text('raise ImportError("Numba needs NumPy 2.0 or less.\\nSee")')
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    no_kernels("numba failed (ImportError: Numba needs NumPy 2.0 or less.)")


@needs_numba
def test_no_folder_for_the_cache(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("in the way")
    no_kernels(f"{cache / compiled.version()} cannot be made (not a directory)")


@needs_numba
def test_a_folder_that_others_can_write_to(cache: Path) -> None:
    folder = cache / compiled.version()
    load()
    folder.chmod(0o777)
    no_kernels(f"others can write to {folder}")
    folder.chmod(0o700)
    cache.chmod(0o777)
    no_kernels(f"others can write to {folder}")


@needs_numba
def test_numba_keeps_its_own_settings(cache: Path) -> None:
    import numba

    before = numba.config.CACHE_DIR
    load()
    assert before == numba.config.CACHE_DIR


@needs_numba
def test_other_types_are_compiled_when_they_come(cache: Path) -> None:
    kernels, _ = load()
    x = np.array([-2.0, 3.0])
    apply_leaky(kernels, x, 0.25)
    assert x.tolist() == [-0.5, 3]
