"""When a prediction has a label, and when compiled kernels are worth loading."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cnn_cli.inference import predictor
from cnn_cli.inference.predictor import Predictor
from cnn_cli.nn import backends


@pytest.mark.parametrize(("min_prob", "label"), [(0.75, "b"), (np.nextafter(0.75, 1), None)])
def test_min_prob_is_enough(min_prob: float, label: str | None) -> None:
    predictor = Predictor.__new__(Predictor)
    # Of both, only what is used here; so mypy cannot agree.
    predictor.classifier = SimpleNamespace(  # type: ignore[assignment]
        classes=("a", "b"), labels=lambda scores, least: None
    )
    predictor.probabilities = lambda images: np.array([[0.25, 0.75]])  # type: ignore[method-assign]
    (found,), errors = predictor.predictions(
        [("x.png", np.zeros((1, 1, 1), np.uint8))], 2, min_prob
    )
    assert (found.label, found.prob, errors) == (label, 0.75, [])


class Recorder:
    """A stand-in for a classifier that records the engines created and closed."""

    rejects = False

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

    def close(self) -> None:
        self.events.append("closed")


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat three images as many."""
    for module in (backends, predictor):
        monkeypatch.setattr(module, "BULK", 3)
    monkeypatch.setattr(backends, "find_spec", lambda _: object())


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, ["numpy", "closed", "fast", "closed"]), ("numpy", ["numpy", "closed"])],
)
def test_many_images_are_worth_it(asked: str | None, expected: list[str]) -> None:
    recorder = Recorder()
    image = np.zeros((2, 2, 1), np.uint8)
    with Predictor(recorder, 1, asked, print) as opened:  # type: ignore[arg-type]  # a stub
        for _ in range(4):
            probabilities = opened.probabilities([image, image])
            assert probabilities.tolist() == [[0.25] * 4] * 2
    assert recorder.events == expected
