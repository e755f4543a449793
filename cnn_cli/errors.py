"""The exceptions of the library, and the exit code of each.

Library code raises them; only `cnn_cli.cli` prints them and exits. A message reads ``place: rule.
Got what.`` on one line, see `CnnError.line`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Self

_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories
_JOINERS = "\u200c\u200d"


class ExitCode(IntEnum):
    """The exit code of the process."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    DATA = 4
    DIVERGED = 5
    GATE = 6
    LOCKED = 7
    STOPPED = 75
    INTERRUPTED = 130
    PIPE = 141


class CnnError(Exception):
    """Base class of the failures that the user can fix.

    Args:
        place: where the failure lies: a file, a file and a key in it, or an option.
        rule: what must hold there, without a full stop.
        got: what was found instead; empty if the rule is enough.
    """

    code: ExitCode = ExitCode.INTERNAL

    def __init__(self, place: object, rule: str, got: object = None) -> None:
        self.place = str(place)
        self.rule = rule
        self.got = None if got is None else cut(str(got))
        super().__init__(self.line())

    def __reduce__(self) -> tuple[type[CnnError], tuple[str, str, str | None]]:
        """Pickle the error by its arguments, to send it to another process."""
        return type(self), (self.place, self.rule, self.got)

    def unraised(self) -> Self:
        """Return a copy without traceback, to keep: a traceback keeps every frame's variables
        alive.
        """
        return type(self)(self.place, self.rule, self.got)

    def line(self) -> str:
        """Return the message as one printable line, whatever bytes its names contain."""
        text = f"{self.place}: {self.rule}"
        if not text.endswith(("?", ".")):
            text += "."
        if self.got is not None:
            text += f" Got {self.got}."
        return printable(text)


class UsageError(CnnError):
    """The command line is wrong, or needs a package that is not installed."""

    code = ExitCode.USAGE


class ConfigError(CnnError):
    """The config is missing, unreadable, or describes an impossible network."""

    code = ExitCode.CONFIG


class DataError(CnnError):
    """Images, lists, checkpoints or outputs cannot be read or written."""

    code = ExitCode.DATA


class DivergedError(CnnError):
    """The loss is no longer finite."""

    code = ExitCode.DIVERGED


class GateError(CnnError):
    """A bound of `--fail-under` was not reached."""

    code = ExitCode.GATE


class LockedError(CnnError):
    """Another process trains in the same run folder."""

    code = ExitCode.LOCKED


def cut(text: str, most: int = 500) -> str:
    """Return at most so many characters of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """Return `text` on one line, with every character escaped that could control a terminal.

    It escapes control characters (terminal sequences begin with one), line and paragraph
    separators, undecodable bytes, and invisible characters such as those that change the writing
    direction. It keeps the joiners that some scripts and emoji need.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(char) if _is_unsafe(char) else char for char in text)


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in _UNSAFE and char not in _JOINERS


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?``, or "" if no known name is close."""
    import difflib  # imported here because only errors need it

    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def no_override(typed: str) -> UsageError:
    """Return the error for a word that should be an override of the config."""
    return UsageError(typed, "an override is written KEY=VALUE, such as train.epochs=3")


def missing_extra(place: object, package: str, extra: str) -> UsageError:
    """Return the error for a file or option that needs a package which is not installed."""
    return UsageError(place, f"needs {package}; install it with pip install 'cnn-cli[{extra}]'")


def listed(names: Sequence[str], most: int = 5, last: str = ", ") -> str:
    """Join names: `a, b, c`, or the first ones and the number of others: `a, b and 2 more`.

    Args:
        names: any number of names.
        most: how many names are written out.
        last: the word before the last name if all are written out.
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return last.join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def none_readable(
    place: object,
    count: int,
    errors: Iterable[DataError] = (),
    rule: str = "must hold a readable image",
) -> DataError:
    """Return the error for a place with `count` images, all of them unreadable.

    Args:
        errors: what is wrong with images; the first is shown, unless all were shown before.
        rule: what must hold instead.
    """
    first = next(iter(errors), None)
    example = "" if first is None else f", such as {first.line().removesuffix('.')}"
    return DataError(place, rule, f"{count} that cannot{example}")


def size_text(nbytes: float) -> str:
    """Return `1.5 GB` or `83.2 MB`: a size in the largest power of 1000 that is not above it."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} TB"


def reason(error: BaseException) -> str:
    """Return the operating system's reason for a failure, without the path that it repeats.

    It continues "Got", so a folder is called that: "Got is a directory" would be no sentence.
    """
    if isinstance(error, IsADirectoryError):
        return "a folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    text = str(error)
    if re.match("[A-Z][a-z]* ", text):
        return text[0].lower() + text[1:]
    return text or type(error).__name__
