"""`--fail-under`: bounds that a script wants kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cnn_cli.errors import GateError, UsageError

OPTION = "--fail-under"


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound on a metric: the least share, or for the loss the most.

    Attributes:
        metric: `top1`, `topk`, another `top<number>`, or `loss`.
        bound: as it was typed, and as a number.
    """

    metric: str
    typed: str
    bound: float

    @property
    def k(self) -> int | None:
        """How many guesses count: None for `loss` and `topk`."""
        digits = self.metric.removeprefix("top")
        return int(digits) if digits.isdigit() else None

    def check(self, value: float | None, missing: str) -> None:
        """Compare a result with the bound.

        Args:
            value: of the metric; None where there is none.
            missing: what there is instead.

        Raises:
            GateError: the bound is not kept.
        """
        upper = self.metric == "loss"
        rule = f"{self.metric} must be at {'most' if upper else 'least'} {self.typed}"
        if value is None:
            raise GateError(OPTION, rule, missing)
        if not (value <= self.bound if upper else value >= self.bound):
            raise GateError(OPTION, rule, f"{value:.8g}")


def gate(metrics: str, example: str) -> Callable[[object], Gate]:
    """A reader of `METRIC=BOUND`.

    Args:
        metrics: a pattern for the names of those that can be asked for.
        example: of an option's value, for the message.
    """

    def read(value: object) -> Gate:
        if isinstance(value, Gate):
            return value
        metric, _, bound = str(value).partition("=")
        try:
            limit = float(bound)
        except ValueError:
            limit = -1.0
        if not re.fullmatch(metrics, metric) or not 0 <= limit <= (1e9 if metric == "loss" else 1):
            raise UsageError(OPTION, f"must be written {example}", repr(str(value)))
        return Gate(metric, bound, limit)

    return read
