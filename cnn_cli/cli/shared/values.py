"""Parsers of option values: from text to a value, or a usage error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cnn_cli.errors import UsageError, no_override
from cnn_cli.structs import Struct

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[KMGTkmgt]?)(?P<binary>i?)[Bb]?")
_DURATION = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?"
)


def whole(option: str, least: int = 0, below: int = 2**31) -> Callable[[object], int]:
    """Return a parser for integers from `least` to `below` - 1."""
    bound = " above 0" if least == 1 else f", {least} or more"
    rule = f"must be a whole number{bound}"

    def read(value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit()) or int(text[:40]) < least:
            raise UsageError(option, rule, repr(text))
        if int(text[:40]) >= below:
            raise UsageError(option, f"must be at most {below - 1:,}", repr(text))
        return int(text)

    return read


def number(option: str, most: float = math.inf) -> Callable[[object], float]:
    """Return a parser for finite numbers from 0 to `most`."""
    rule = f"must be a number{', 0 or more' if most == math.inf else f' from 0 to {most:g}'}"

    def read(value: object) -> float:
        try:
            result = float(str(value))
        except ValueError:
            result = math.nan
        if not (math.isfinite(result) and 0 <= result <= most):
            raise UsageError(option, rule, repr(str(value)))
        return result

    return read


class OrAlone:
    """A parser for an option whose value may be omitted, unless a number follows.

    Args:
        read: parses the value.
        alone: the value if it is omitted.
    """

    def __init__(self, read: Callable[[object], int], alone: int) -> None:
        self._read = read
        self._alone = alone

    def __call__(self, value: object) -> int:
        return self._read(value)

    def completed(self, following: Sequence[str]) -> list[str]:
        """Return the value to insert if what follows the option is not one."""
        given = bool(following) and re.fullmatch(r"-?[\d.]+", following[0]) is not None
        return [] if given else [str(self._alone)]


class Numbers(Struct):
    """Several numbers; Typer would treat a tuple as an option with several words."""

    values: tuple[float, ...]


def numbers(option: str, *, above_0: bool = False) -> Callable[[object], Numbers]:
    """Return a parser for comma-separated numbers."""
    rule = f"must be numbers{' above 0' if above_0 else ''} with commas between them"

    def read(value: object) -> Numbers:
        try:
            found = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            found = (math.nan,)
        if not all(math.isfinite(each) and (each > 0 or not above_0) for each in found):
            raise UsageError(option, rule, repr(str(value)))
        return Numbers(found)

    return read


def choice(option: str, choices: tuple[str, ...]) -> Callable[[object], str]:
    """Return a parser for one of several words."""

    def read(value: object) -> str:
        text = str(value)
        if text not in choices:
            rule = f"must be {', '.join(choices[:-1])} or {choices[-1]}"
            raise UsageError(option, rule, repr(text))
        return text

    return read


def path(option: str) -> Callable[[object], Path]:
    """Return a parser for a path, which must not be empty."""

    def read(value: object) -> Path:
        if not str(value):
            raise UsageError(option, "must be a path", "an empty one")
        return Path(str(value))

    return read


def text(value: object) -> str:
    """Accept any text, including bytes that are not UTF-8."""
    return str(value)


def duration(option: str) -> Callable[[object], float]:
    """Return a parser for times in seconds: `90`, `90s`, `25m`, `2h`, `1h30m`."""

    def read(value: object) -> float:
        typed = str(value)
        match = _DURATION.fullmatch(
            typed + "s" if typed[-1:].isdigit() and not re.search("[hm]", typed) else typed
        )
        seconds = 0.0
        if match is not None:
            hours, minutes, rest = (float(part or 0) for part in match.group("h", "m", "s"))
            seconds = 3600 * hours + 60 * minutes + rest
        if not 0 < seconds < math.inf:
            raise UsageError(option, "must be a time above 0, as 90s, 25m or 1h30m", repr(typed))
        return seconds

    return read


def size(option: str) -> Callable[[object], int]:
    """Return a parser for bytes: `500M`, `2G`, `1.5GB`, `2GiB`; a plain number is bytes."""

    def read(value: object) -> int:
        match = _SIZE.fullmatch(str(value))
        nbytes = 0
        if match is not None:
            power = " KMGT".index(match["unit"].upper() or " ")
            nbytes = int(float(match["number"]) * (1024 if match["binary"] else 1000) ** power)
        if nbytes < 1:
            raise UsageError(option, "must be a size above 0, as 500M or 2G", repr(str(value)))
        return nbytes

    return read


def override(value: object) -> str:
    """Accept `KEY=VALUE`, for `load_config`."""
    typed = str(value)
    key, equals, _ = typed.partition("=")
    if not (key and equals):
        raise no_override(typed)
    return typed
