"""What can go wrong, and the exit code each kind of failure ends the program with.

Library code raises these; only `cnn_cli.cli` prints them and exits. A message reads
``place: rule. Got what.`` and is one line: `CnnError.line` makes it so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Self

_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's categories
_JOINERS = "\u200c\u200d"


class ExitCode(IntEnum):
    """What the process tells the script that called it."""

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
    """A failure the user can do something about.

    Args:
        place: where: a file, or a file and the key within it, or an option.
        rule: what must hold there, without a full stop.
        got: what was found instead; left out where the rule says it all.
    """

    code: ExitCode = ExitCode.INTERNAL

    def __init__(self, place: object, rule: str, got: object = None) -> None:
        self.place = str(place)
        self.rule = rule
        self.got = None if got is None else _cut(str(got))
        super().__init__(self.line())

    def __reduce__(self) -> tuple[type[CnnError], tuple[str, str, str | None]]:
        """How it is sent to another process."""
        return type(self), (self.place, self.rule, self.got)

    def unraised(self) -> Self:
        """The same error as one that was never raised: to keep, as a raised one keeps alive all
        that was in the frames it came through.
        """
        return type(self)(self.place, self.rule, self.got)

    def line(self) -> str:
        """The message as one printable line, whatever bytes the names in it hold."""
        text = f"{self.place}: {self.rule}"
        if not text.endswith(("?", ".")):
            text += "."
        if self.got is not None:
            text += f" Got {self.got}."
        return printable(text)


class UsageError(CnnError):
    """The command line is wrong, or asks for what is not installed."""

    code = ExitCode.USAGE


class ConfigError(CnnError):
    """The configuration is absent, unreadable, or describes an impossible network."""

    code = ExitCode.CONFIG


class DataError(CnnError):
    """Images, lists, checkpoints or outputs that cannot be read or written."""

    code = ExitCode.DATA


class DivergedError(CnnError):
    """The loss is no longer finite."""

    code = ExitCode.DIVERGED


class GateError(CnnError):
    """A `--fail-under` bound was not reached."""

    code = ExitCode.GATE


class LockedError(CnnError):
    """Another process is training into the same run folder."""

    code = ExitCode.LOCKED


def _cut(text: str, most: int = 500) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """`text` on one line, for people: nothing in it can do anything to a terminal.

    What is escaped: control characters, such as begin a terminal's sequences; ends of lines and
    paragraphs; undecodable bytes; and characters that are not seen, such as those that change the
    direction of writing. The joiners that some scripts and emoji need are left.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(char) if _is_unsafe(char) else char for char in text)


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in _UNSAFE and char not in _JOINERS


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def suggest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, or nothing where no known name is near."""
    import difflib  # which only errors need

    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def missing_extra(place: object, package: str, extra: str) -> UsageError:
    """The error where a file or an option needs a package that is not installed."""
    return UsageError(place, f"needs {package}; install it with pip install 'cnn-cli[{extra}]'")


def listed(names: Sequence[str], most: int = 5, last: str = ", ") -> str:
    """`a, b, c`, or the first names and how many there are more: `a, b and 2 more`.

    Args:
        names: any number.
        most: how many are named.
        last: what stands before the last one, where all are named.
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return last.join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def size_text(nbytes: float) -> str:
    """`1.5 GB`, `83.2 MB`: in the largest unit of 1000 that leaves a whole number before it."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} TB"


def reason(error: BaseException) -> str:
    """Why the operating system refused, without the path it repeats."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
