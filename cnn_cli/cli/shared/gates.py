"""`--fail-under`: bounds on metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnn_cli.cli.shared.values import Parser
from cnn_cli.errors import GateError, UsageError
from cnn_cli.metric_names import TOP1, Metric, find_metric, nearest, no_such_class

OPTION = "--fail-under"
TOPK = "topk"  # with the k of another option
NOT_DEFINED = "none: it is not defined for these images"


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound on a metric: a minimum or, for metrics such as loss, a maximum.

    Attributes:
        metric: the metric; its name may be `TOPK`.
        typed: the bound as typed.
        bound: the bound as a number.
    """

    metric: Metric
    typed: str
    bound: float

    def check(self, value: float | None, missing: str) -> None:
        """Compare a result with the bound.

        Args:
            value: value of the metric, or None.
            missing: why there is no value.

        Raises:
            GateError: the bound is not met.
        """
        rises = self.metric.kind.rises
        rule = f"{self.metric.text} must be at {'least' if rises else 'most'} {self.typed}"
        if value is None:
            raise GateError(OPTION, rule, missing)
        if not (value >= self.bound if rises else value <= self.bound):
            raise GateError(OPTION, rule, f"{value:.8g}")


def gate(*, topk: bool) -> Parser[Gate]:
    """Return a parser for `METRIC=BOUND`, or for a bound of top1 alone.

    The bound follows the last `=`, because class names may contain one.

    Args:
        topk: whether `topk` is allowed.
    """

    def parse(place: str, value: object) -> Gate:
        if isinstance(value, Gate):
            return value
        text = str(value)
        name, equals, bound = text.rpartition("=")
        limit = _number(bound)
        if limit is None or (equals and not name):
            rule = "must be written METRIC=BOUND, as top1=0.9, recall:CLASS=0.8 or loss=0.5"
            raise UsageError(place, rule, repr(text))
        metric = find_metric(name) if equals else TOP1
        if topk and name == TOPK:
            metric = Metric(TOPK)
        if metric is None:
            rule = f"no such metric.{nearest(name)}"
            raise UsageError(place, rule, repr(name))
        kind = metric.kind
        if not kind.least <= limit <= kind.most:
            rule = f"the bound of {metric.text} must be from {kind.least:g} to {kind.most:g}"
            raise UsageError(place, rule, repr(bound))
        return Gate(metric, bound, limit)

    return parse


def check_gates(gates: Sequence[Gate], classes: Sequence[str], labels: str = "single") -> None:
    """Refuse metrics of unknown classes, and those undefined for these labels.

    Args:
        gates: the gates.
        classes: class names of the model.
        labels: its `data.labels`.

    Raises:
        UsageError: there is one.
    """
    for one in gates:
        if rule := one.metric.not_of(labels):
            raise UsageError(OPTION, rule)
        if rule := no_such_class(one.metric, classes):
            raise UsageError(OPTION, rule, repr(one.metric.of))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
