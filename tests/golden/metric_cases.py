"""The labels and scores of `make_metrics.py` and the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.types import Array


@dataclass(frozen=True)
class Case:
    """Labels and scores to generate.

    Attributes:
        images, classes: their numbers.
        skill: added to the score of an image's own class.
        digits: decimals to which scores are rounded; few cause many ties.
        without: classes without images.
        never: classes that are never predicted.
        k: the k of top-k accuracy, for scores without ties, whose order is undefined.
    """

    images: int
    classes: int
    skill: float = 1.0
    digits: int = 9
    without: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    k: int = 3


CASES = {
    "plain": Case(300, 7),
    "many": Case(400, 60, skill=2.0, k=5),
    "poor": Case(100, 4, skill=-1.0, k=2),
    "ties": Case(200, 5, digits=0),
    "coarse": Case(500, 3, digits=0, skill=0.3, k=2),
    "binary": Case(150, 2, k=1),
    "binary-ties": Case(150, 2, digits=0, k=1),
    "without": Case(120, 6, without=(0, 4)),
    "never": Case(120, 6, never=(2,)),
    "neither": Case(120, 6, without=(3, 5), never=(3, 1)),
    "one-class": Case(40, 3, without=(0, 2)),
    "one-guess": Case(40, 3, never=(0, 2)),
    "nothing-else": Case(40, 3, without=(0, 2), never=(0, 2)),
    "single": Case(1, 3),
    "right": Case(90, 3, skill=30.0, k=2),
}


def logits_of(case: Case) -> tuple[Array, Array]:
    """Return the scores (n, classes) in float64, and labels (n,)."""
    rng = np.random.default_rng(case.images * 1000 + case.classes)
    there = [c for c in range(case.classes) if c not in case.without]
    labels = np.array(there)[rng.integers(0, len(there), case.images)]
    logits = rng.standard_normal((case.images, case.classes))
    logits[np.arange(case.images), labels] += case.skill
    logits = np.round(logits, case.digits)
    logits[:, list(case.never)] -= 20
    return logits, labels
