"""Parsers of typed values: from text to a value, or a usage error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cnn_cli.errors import UsageError, no_override
from cnn_cli.structs import Struct

T = TypeVar("T")
Parser = Callable[[str, Any], T]
"""Converts the text of a parameter to its value. The first argument is what an error names."""

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[KMGTkmgt]?)(?P<binary>i?)[Bb]?")
_DURATION = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?"
)


def whole(least: int = 0, below: int = 2**31) -> Parser[int]:
    """Return a parser for whole numbers from `least` to `below` - 1."""
    bound = " above 0" if least == 1 else f", {least} or more"
    rule = f"must be a whole number{bound}"

    def parse(place: str, value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit()) or int(text[:40]) < least:
            raise UsageError(place, rule, repr(text))
        if int(text[:40]) >= below:
            raise UsageError(place, f"must be at most {below - 1:,}", repr(text))
        return int(text)

    return parse


def number(most: float = math.inf) -> Parser[float]:
    """Return a parser for finite numbers from 0 to `most`."""
    rule = f"must be a number{', 0 or more' if most == math.inf else f' from 0 to {most:g}'}"

    def parse(place: str, value: object) -> float:
        try:
            result = float(str(value))
        except ValueError:
            result = math.nan
        if not (math.isfinite(result) and 0 <= result <= most):
            raise UsageError(place, rule, repr(str(value)))
        return result

    return parse


class OrAlone:
    """A parser for an option whose value may be omitted, unless a number follows.

    Args:
        parse: parses the value.
        alone: the value if it is omitted.
    """

    def __init__(self, parse: Parser[int], alone: int) -> None:
        self._parse = parse
        self._alone = alone

    def __call__(self, place: str, value: object) -> int:
        return self._parse(place, value)

    def completed(self, following: Sequence[str]) -> list[str]:
        """Return the value to insert if what follows the option is not one."""
        given = bool(following) and re.fullmatch(r"-?[\d.]+", following[0]) is not None
        return [] if given else [str(self._alone)]


class Numbers(Struct):
    """Several numbers; Typer would treat a tuple as an option with several words."""

    values: tuple[float, ...]


def numbers(*, above_0: bool = False) -> Parser[Numbers]:
    """Return a parser for comma-separated numbers."""
    rule = f"must be numbers{' above 0' if above_0 else ''} with commas between them"

    def parse(place: str, value: object) -> Numbers:
        try:
            found = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            found = (math.nan,)
        if not all(math.isfinite(each) and (each > 0 or not above_0) for each in found):
            raise UsageError(place, rule, repr(str(value)))
        return Numbers(found)

    return parse


class OneWord:
    """A parser for one of several words.

    Attributes:
        metavar: the words, as the help shows them.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words
        self.metavar = "|".join(words)

    def __call__(self, place: str, value: object) -> str:
        text = str(value)
        if text not in self._words:
            rule = f"must be {', '.join(self._words[:-1])} or {self._words[-1]}"
            raise UsageError(place, rule, repr(text))
        return text


def path(place: str, value: object) -> Path:
    """Parse a path, which must not be empty."""
    if not str(value):
        raise UsageError(place, "must be a path", "an empty one")
    return Path(str(value))


class FileOf:
    """A parser for the path of a file to write, whose extension says the format.

    Args:
        suffixes: the extensions, `.csv`; in the path, capital letters are the same.

    Attributes:
        metavar: the placeholder that the help shows.
    """

    def __init__(self, *suffixes: str) -> None:
        self._suffixes = suffixes
        self.metavar = "|".join(f"FILE{suffix}" for suffix in suffixes)

    def __call__(self, place: str, value: object) -> Path:
        found = path(place, value)
        if found.suffix.lower() not in self._suffixes:
            rule = f"must be a {' or '.join(self._suffixes)} file"
            raise UsageError(place, rule, repr(str(found)))
        return found


def text(place: str, value: object) -> str:
    """Accept any text, including bytes that are not UTF-8."""
    return str(value)


def duration(place: str, value: object) -> float:
    """Parse a time in seconds: `90`, `90s`, `25m`, `2h`, `1h30m`."""
    typed = str(value)
    match = _DURATION.fullmatch(
        typed + "s" if typed[-1:].isdigit() and not re.search("[hm]", typed) else typed
    )
    seconds = 0.0
    if match is not None:
        hours, minutes, rest = (float(part or 0) for part in match.group("h", "m", "s"))
        seconds = 3600 * hours + 60 * minutes + rest
    if not 0 < seconds < math.inf:
        raise UsageError(place, "must be a time above 0, as 90s, 25m or 1h30m", repr(typed))
    return seconds


def size(place: str, value: object) -> int:
    """Parse bytes: `500M`, `2G`, `1.5GB`, `2GiB`; a plain number is bytes."""
    match = _SIZE.fullmatch(str(value))
    nbytes = 0
    if match is not None:
        power = " KMGT".index(match["unit"].upper() or " ")
        nbytes = int(float(match["number"]) * (1024 if match["binary"] else 1000) ** power)
    if nbytes < 1:
        raise UsageError(place, "must be a size above 0, as 500M or 2G", repr(str(value)))
    return nbytes


def override(place: str, value: object) -> str:
    """Accept `KEY=VALUE`, for `load_config`."""
    typed = str(value)
    key, equals, _ = typed.partition("=")
    if not (key and equals):
        raise no_override(typed)
    return typed
