"""When a prediction has a label."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cnn_cli.inference.predictor import Predictor


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
