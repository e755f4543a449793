"""The choice of backend, and the notes about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stubs import stub_graph

from cnn_cli.errors import UsageError
from cnn_cli.nn import backends
from cnn_cli.nn.backends import (
    BULK,
    backend_for,
    choose_backend,
    open_kernels,
    training_backend,
)
from cnn_cli.nn.kernels.fast import LoopKernels
from cnn_cli.nn.kernels.interface import Kernels


@pytest.fixture(params=[True, False], ids=["numba", "no numba"])
def best(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fastest backend, with and without numba."""
    monkeypatch.setattr(backends, "find_spec", lambda _: object() if request.param else None)
    return "fast" if request.param else "numpy"


def test_the_first_that_was_asked_for_else_the_best(best: str) -> None:
    assert choose_backend("numpy", "fast") == "numpy"
    assert choose_backend(None, "fast") == "fast"
    assert choose_backend(None, None) == best


def test_few_images_are_not_worth_loading_kernels(best: str) -> None:
    assert [backend_for(images) for images in (0, 1, BULK - 1)] == ["numpy"] * 3
    assert backend_for(BULK) == best


@pytest.mark.parametrize(
    ("kernels", "said", "expected"),
    [
        (LoopKernels(note="compiled kernels, once: 3 s"), ["compiling"], ["compiling"]),
        (LoopKernels(note="compiled kernels, once: 3 s"), [], ["compiled kernels, once: 3 s"]),
        (LoopKernels(), [], []),
        (Kernels("plain NumPy"), [], ["plain NumPy"]),
        (Kernels("plain NumPy"), ["compiling"], ["compiling", "plain NumPy"]),
    ],
    ids=["compiled", "compiled in part", "cached", "no folder", "numba failed"],
)
def test_one_line_about_compiling(
    monkeypatch: pytest.MonkeyPatch, kernels: Kernels, said: list[str], expected: list[str]
) -> None:
    def load(name: str, *, dtype: str, kinds: object, say: Callable[[str], None]) -> Kernels:
        for line in said:
            say(line)
        return kernels

    monkeypatch.setattr(backends, "load_backend", load)
    lines: list[str] = []
    assert open_kernels("fast", stub_graph(), "float32", lines.append) is kernels
    assert lines == expected


def test_a_run_of_compiled_kernels_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        training_backend(None, "fast")
    assert error.value.line() == (
        "--resume: the run was trained with the backend fast, which needs numba; install it with "
        "pip install 'cnn-cli[fast]', or go on with --backend numpy."
    )
    assert training_backend("numpy", "fast") == "numpy"
    with pytest.raises(UsageError, match=r"^--backend fast: needs numba"):
        training_backend("fast", "numpy")
