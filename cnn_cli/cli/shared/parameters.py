"""Parameters of commands: their declaration, and the parser for plain command lines.

A command's function declares them as `Annotated[TYPE, Option(...)]` or `Annotated[TYPE,
Argument(...)]`.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cnn_cli.cli.shared import values
from cnn_cli.cli.shared.values import Parser

Typed = dict[str, list[str]]
"""The words typed for each parameter, by its name in the function."""


class Parameter:
    """Describes a parameter for the help, and parses its value.

    Args:
        names: the option's names, `--batch-size` and `-b`; empty for an argument.
        metavar: placeholder for the value in the help; a flag has none. A parser's own goes first.
        parser: converts the text to a value, or raises a UsageError; an option without one is a
            flag.
        place: what that error names; by default the option, by its last long name, or the first
            word of the metavar.
        help: its description.
        show_default: whether the help shows the default.
        autocompletion: returns completions of a partial value.

    Attributes:
        parse: the parser, which has been told the place; None for a flag.
    """

    def __init__(
        self,
        *names: str,
        help: str,
        metavar: str | None = None,
        parser: Parser[Any] | None = None,
        place: str | None = None,
        show_default: bool = True,
        autocompletion: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.names = names
        self.help = help
        self.metavar = getattr(parser, "metavar", metavar)
        self.parse = parser and partial(parser, place or _place(names, metavar))
        self.show_default = show_default
        self.autocompletion = autocompletion

    @property
    def is_text(self) -> bool:
        """Whether the value is the text as it was typed."""
        return self.parse is not None and self.parse.func is values.text


def _place(names: Sequence[str], metavar: str | None) -> str:
    """Return what an error about a value names."""
    long = [name for name in names if name.startswith("--")]
    return long[-1] if long else re.findall("[A-Z]+", metavar or "")[0]


class Option(Parameter):
    """A parameter given by name."""


class Argument(Parameter):
    """A parameter given by position."""


class Declared(NamedTuple):
    """A parameter of a command's function.

    Attributes:
        name: its name in the function.
        type: its type without the annotation.
        described: the `Option` or `Argument`; None for Typer's own, such as its context.
        default: the function's default; `REQUIRED` without one.
    """

    name: str
    type: Any
    described: Parameter | None
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether it may be repeated."""
        kinds = typing.get_args(self.type)
        return any(typing.get_origin(kind) is list for kind in (self.type, *kinds))

    @property
    def is_single(self) -> bool:
        """Whether giving it twice is an error: of two files or names, one would be passed over.

        Of two numbers or settings the last counts, so that a script's own can be overridden.
        """
        if self.is_list or not isinstance(self.described, Option):
            return False
        is_path = Path in (self.type, *typing.get_args(self.type))
        return is_path or self.described.is_text


REQUIRED: Any = ...


class Exit(Exception):  # noqa: N818 - no error: a command has said all, and how it ends
    """Ends a command with an exit code, after its output."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def declared(callback: Callable[..., None]) -> Iterator[Declared]:
    """Yield the parameters of a command's function, in order."""
    function: Any = callback
    types = typing.get_type_hints(function, include_extras=True)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = function.__defaults__ or ()
    defaults = (REQUIRED,) * (len(names) - len(given)) + given
    for name, default in zip(names, defaults, strict=True):
        kind, *more = typing.get_args(types[name]) if _is_annotated(types[name]) else (types[name],)
        described = next((each for each in more if isinstance(each, Parameter)), None)
        yield Declared(name, kind, described, default)


def _is_annotated(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Annotated


def plain_values(callback: Callable[..., None], words: Sequence[str]) -> dict[str, Any] | None:
    """Parse the words after a command's name to the values of its parameters.

    None if the line is not plain: it is wrong, asks for help, or uses a rarer form such as combined
    short options. Typer parses those, and reports errors.
    """
    parameters = list(declared(callback))
    typed = _sorted_out(parameters, words)
    if typed is None or any(len(typed[each.name]) > 1 for each in parameters if each.is_single):
        return None
    parsed = {}
    for each in parameters:
        # Defaults are parsed too: they are written as typed, `10m`.
        texts: list[Any] = typed[each.name] or [each.default]
        parse = None if each.described is None else each.described.parse
        if texts[-1] is REQUIRED:
            return None
        if parse is None:
            parsed[each.name] = bool(typed[each.name]) or each.default
        elif texts[-1] is None:
            parsed[each.name] = None
        else:
            try:
                read = [parse(text) for text in texts]
            except Exception:  # Typer meets and reports it as well
                return None
            parsed[each.name] = read if each.is_list else read[-1]
    return parsed


def _sorted_out(parameters: Sequence[Declared], words: Sequence[str]) -> Typed | None:
    """Return the words typed for each parameter; None if the line is not plain."""
    typed: Typed = {each.name: [] for each in parameters}
    options: dict[str, Declared] = {}
    arguments = []
    for each in parameters:
        match each.described:
            case Option(names=names, parse=parse) if parse is not None or each.type is bool:
                options |= dict.fromkeys(names, each)
            case Argument():
                arguments.append(each)
            case _:
                return None
    free = []
    following = iter(words)
    for word in following:
        if not _is_option(word):
            free.append(word)
            continue
        name, equals, value = word.partition("=")
        option = options.get(name)
        is_flag = option is not None and option.type is bool
        if option is None or (equals and (is_flag or not name.startswith("--"))):
            return None
        if not is_flag and not equals:
            value = next(following, "--")
            if _is_option(value):
                return None
        typed[option.name].append(value)
    for argument in arguments:
        count = len(free) if argument.is_list else 1
        typed[argument.name], free = free[:count], free[count:]
    return None if free else typed


def _is_option(word: str) -> bool:
    """Whether a word looks like an option; `-` stands for a stream."""
    return word.startswith("-") and word != "-"
