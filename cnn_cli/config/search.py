"""The search space of a sweep: `KEY=LOW..HIGH` and `KEY=a,b,c`, and drawing values from it.

Values stay text, so that a trial's config is the file with overrides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import floor, inf
from typing import Any

from cnn_cli.config.load import plain_config
from cnn_cli.config.whole import Config
from cnn_cli.config.yaml12 import parse_yaml
from cnn_cli.errors import ConfigError

DECADE = 10.0  # ratio of a range's ends from which it is drawn on a logarithmic scale
DIGITS = 4  # significant digits of a drawn number
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_CLOSING = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True, slots=True)
class Choices:
    """`KEY=a,b,c`: one of several values.

    Attributes:
        key: dotted key.
        words: the values as typed.
    """

    key: str
    words: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """Values that are sufficient to check whether all are allowed."""
        return self.words

    @property
    def count(self) -> float:
        """Number of values."""
        return len(self.words)

    @property
    def typed(self) -> str:
        return f"{self.key}={','.join(self.words)}"

    def draw(self, uniform: float) -> str:
        """Map a uniform number in [0, 1) to a value."""
        return self.words[int(uniform * len(self.words))]

    def of(self, config: Config) -> str | None:
        """Return the config's value as typed here; None if it is not in the list."""
        own = _at(config, self.key)
        return next((word for word in self.words if parse_yaml(word, self.key) == own), None)


@dataclass(frozen=True, slots=True)
class Range:
    """`KEY=LOW..HIGH`: a number in a closed range.

    If both ends are positive and their ratio is at least `DECADE`, it is drawn on a logarithmic
    scale, else linearly; integers always linearly.

    Attributes:
        key: dotted key.
        low, high: as typed.
        whole: whether it takes integers only.
    """

    key: str
    low: str
    high: str
    whole: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    @property
    def ends(self) -> tuple[str, ...]:
        return self.low, self.high

    @property
    def count(self) -> float:
        low, high = self.bounds
        return high - low + 1 if self.whole else inf

    @property
    def typed(self) -> str:
        return f"{self.key}={self.low}..{self.high}"

    @property
    def between(self) -> str | None:
        """A number within that is not an integer, if both ends are integers; else None."""
        low, high = self.bounds
        return str(low + 0.5) if low == floor(low) and high == floor(high) else None

    def draw(self, uniform: float) -> str:
        low, high = self.bounds
        if self.whole:
            return str(int(low) + floor(uniform * (high - low + 1)))
        if low > 0 and high / low >= DECADE:
            value = low * (high / low) ** uniform
        else:
            value = low + uniform * (high - low)
        return repr(min(max(float(f"{value:.{DIGITS}g}"), low), high))

    def of(self, config: Config) -> str | None:
        own, (low, high) = _at(config, self.key), self.bounds
        is_number = isinstance(own, int | float) and not isinstance(own, bool)
        return repr(own) if is_number and low <= own <= high else None


Dimension = Choices | Range


def parse_space(words: Sequence[str]) -> tuple[list[Dimension], list[str]]:
    """Return the search space, and the other words: overrides for all trials.

    Args:
        words: `KEY=LOW..HIGH`, `KEY=a,b,c` or `KEY=VALUE`. Commas within brackets or quotes do not
            separate values.

    Raises:
        ConfigError: a range or list is empty or has a single value, or a key is given twice.
    """
    space: list[Dimension] = []
    overrides: list[str] = []
    keys: set[str] = set()
    for word in words:
        key, _, text = word.partition("=")
        if key in keys:
            raise ConfigError(word, f"{key} must be given once")
        keys.add(key)
        found = _RANGE.fullmatch(text)
        choices = _split(text)
        if found is not None:
            if not -inf < float(found[1]) < float(found[2]) < inf:
                raise ConfigError(word, "a range must begin below its end")
            space.append(Range(key, found[1], found[2]))
        elif len(choices) > 1:
            values = [parse_yaml(choice, key) for choice in choices if choice]
            twice = any(value in values[:place] for place, value in enumerate(values))
            if twice or not all(choices):
                raise ConfigError(word, "must be different values with commas between them")
            space.append(Choices(key, tuple(choices)))
        else:
            overrides.append(word)
    return space, overrides


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, quote = [""], ""
    inside: list[str] = []
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSING:
            inside.append(_CLOSING[char])
        elif inside and char == inside[-1]:
            inside.pop()
        if char == "," and not quote and not inside:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _at(config: Config, key: str) -> Any:
    """Return a config's value at a dotted key, or None."""

    def step(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        return value.get(name) if isinstance(value, dict) else None

    return reduce(step, key.split("."), plain_config(config))
