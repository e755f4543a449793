"""The scale of an axis, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 5.0, 10.0)
# Ratio of the largest to the smallest value from which an axis is logarithmic: a linear one would
# show the largest values only.
LOG_FROM = 50.0


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from `low` to `high`.

    Attributes:
        log: whether it is logarithmic.
        ticks: the labeled values.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def fraction(self, value: float) -> float:
        """Return the position of a value: 0 at `low`, 1 at `high`; values outside are clamped."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((at - low) / (high - low), 0.0), 1.0)


def axis_of(values: Sequence[float], *, may_log: bool = False, whole: bool = False) -> Axis:
    """Return an axis that contains all values.

    Args:
        values: at least one, finite.
        may_log: use a logarithmic scale if the values differ strongly in size.
        whole: ticks are integers.
    """
    low, high = min(values), max(values)
    if may_log and low > 0 and high / low >= LOG_FROM:
        return _log_axis(low, high)
    if whole:
        step = max(1.0, _step(high - low))
        first = step * math.ceil(low / step)
        ticks = _range(first, high, step)
        return (
            Axis(low, high, False, ticks) if high > low else Axis(low - 1, high + 1, False, (low,))
        )
    if high == low:
        pad = abs(high) / 2 or 0.5
        low, high = low - pad, high + pad
    step = _step(high - low)
    bottom, top = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    return Axis(bottom, top, False, _range(bottom, top, step))


def _step(span: float) -> float:
    """Return a round step that divides a span into about four to eight parts."""
    if span <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(span / 4))
    return unit * min(STEPS, key=lambda step: abs(span / (unit * step) - 5))


def _range(first: float, last: float, step: float) -> tuple[float, ...]:
    count = math.floor((last - first) / step + 1e-6) + 1
    return tuple(round(first + i * step, 12) for i in range(count))


def _log_axis(low: float, high: float) -> Axis:
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (top - bottom) // 6)
    ticks = tuple(10.0**power for power in range(bottom, top + 1, every))
    return Axis(10.0**bottom, 10.0**top, True, ticks)
