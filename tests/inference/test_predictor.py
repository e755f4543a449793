"""When a prediction has a label."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnn_cli.inference.predictor import Predictor


@pytest.mark.parametrize(("min_prob", "label"), [(0.75, "b"), (np.nextafter(0.75, 1), None)])
def test_min_prob_is_enough(min_prob: float, label: str | None) -> None:
    predictor = Predictor.__new__(Predictor)
    predictor.classifier = SimpleNamespace(  # type: ignore[assignment]
        classes=("a", "b"), labels=lambda scores, least: None
    )
    scores: Any = lambda images: np.array([[0.25, 0.75]])  # noqa: E731
    predictor.probabilities = scores  # type: ignore[method-assign]
    (found,), errors = predictor.predictions(
        [("x.png", np.zeros((1, 1, 1), np.uint8))], 2, min_prob
    )
    assert (found.label, found.prob, errors) == (label, 0.75, [])
