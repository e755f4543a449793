"""Labels and scores with several labels per image, for `make_label_metrics.py` and the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_cli.nn.types import Array


@dataclass(frozen=True)
class Case:
    """Labels and scores to generate.

    Attributes:
        images, classes: their numbers.
        share: fraction of the images that have a class.
        skill: added to the scores of an image's labels.
        digits: decimals to which scores are rounded; few cause many ties.
        without, always: classes that no image or every image has.
        thresholds: of the classes, from the first to the last.
    """

    images: int
    classes: int
    share: float = 0.3
    skill: float = 1.5
    digits: int = 9
    without: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    thresholds: tuple[float, float] = (0.3, 0.7)


CASES = {
    "plain": Case(300, 6),
    "rare": Case(400, 20, share=0.03, skill=3.0),
    "ties": Case(200, 4, digits=0),
    "poor": Case(120, 3, skill=-1.0),
    "without": Case(100, 5, without=(1,), always=(3,)),
    "never": Case(80, 4, without=(2,), thresholds=(0.9, 1.0)),
    "single": Case(1, 3),
}


def arrays_of(name: str) -> tuple[Array, Array, Array]:
    """Return scores (n, classes), labels (n, classes) and thresholds (classes,)."""
    case, rng = CASES[name], np.random.default_rng(list(name.encode()))
    labels = (rng.random((case.images, case.classes)) < case.share).astype(np.uint8)
    labels[:, list(case.without)] = 0
    labels[:, list(case.always)] = 1
    logits = rng.normal(-0.5, 1.0, labels.shape) + case.skill * labels
    return logits.round(case.digits), labels, np.linspace(*case.thresholds, case.classes)
