"""The choice of backend, and the notes about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from stubs import stub_graph

from cnn_cli.errors import UsageError
from cnn_cli.inference import predictor
from cnn_cli.inference.predictor import Predictor
from cnn_cli.nn import backends as backend
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
    monkeypatch.setattr(backend, "find_spec", lambda _: object() if request.param else None)
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

    monkeypatch.setattr(backend, "load_backend", load)
    lines: list[str] = []
    assert open_kernels("fast", stub_graph(), "float32", lines.append) is kernels
    assert lines == expected


def test_a_run_of_compiled_kernels_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backend,):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        training_backend(None, "fast")
    assert error.value.line() == (
        "--resume: the run was trained with the backend fast, which needs numba; install it with "
        "pip install 'cnn-cli[fast]', or go on with --backend numpy."
    )
    assert training_backend("numpy", "fast") == "numpy"
    with pytest.raises(UsageError, match=r"^--backend fast: needs numba"):
        training_backend("fast", "numpy")


class Recorder:
    """A stand-in for a classifier that records the engines created and closed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def engine(self, threads: int, backend: str, note: object) -> Recorder:
        self.events.append(backend)
        return self

    def predict(self, images: np.ndarray) -> np.ndarray:  # of bytes
        return np.zeros((len(images), 4), np.float32)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return logits + 0.25

    def scorer(self, threads: int, backend: str, note: object) -> Recorder:
        return self.engine(threads, backend, note)

    def rejecting(self, threads: int, backend: str, note: object) -> None:
        """It rejects no images."""

    def close(self) -> None:
        self.events.append("closed")


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat three images as many."""
    for module in (backend, predictor):
        monkeypatch.setattr(module, "BULK", 3)
    monkeypatch.setattr(backend, "find_spec", lambda _: object())


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, ["numpy", "closed", "fast", "closed"]), ("numpy", ["numpy", "closed"])],
)
def test_many_images_are_worth_it(asked: str | None, expected: list[str]) -> None:
    recorder = Recorder()
    image = np.zeros((2, 2, 1), np.uint8)
    with Predictor(recorder, 1, asked, print) as predictor:  # type: ignore[arg-type]  # a stub
        for _ in range(4):
            probabilities = predictor.probabilities([image, image])
            assert probabilities.tolist() == [[0.25] * 4] * 2
    assert recorder.events == expected
