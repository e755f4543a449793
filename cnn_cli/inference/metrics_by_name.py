"""Look up a metric of an evaluation by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from math import isfinite
from typing import Protocol

from cnn_cli.inference.metrics import ClassScores
from cnn_cli.metric_names import Metric, find_class


class Evaluated(Protocol):
    """An evaluation of labeled images."""

    @property
    def labels(self) -> Sized: ...


class MetricsByName:
    """The metrics of an evaluation, as attributes of their names.

    Attributes:
        evaluation: the evaluation.
        classes: class names, in the network's order.
        by_class: the scores of each class.
    """

    evaluation: Evaluated
    classes: Sequence[str]

    @property
    def by_class(self) -> Mapping[str, ClassScores]:
        raise NotImplementedError

    def top_k(self, k: int) -> float:
        raise NotImplementedError

    def value(self, metric: Metric) -> float | None:
        """Return the value of a metric; None if it is undefined for these images or not finite."""
        if not len(self.evaluation.labels):
            return None
        if metric.k is not None:
            return self.top_k(metric.k)
        if metric.of is not None:
            number = find_class(metric.of, self.classes)
            if number is None:
                return None
            found: float | None = getattr(self.by_class[self.classes[number]], metric.name)
            return found
        value: float | None = getattr(self, metric.name)
        return value if value is not None and isfinite(value) else None
