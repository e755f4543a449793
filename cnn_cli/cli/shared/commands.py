"""Commands: registered once, in their own file, which is imported when its command is called.

The list of commands is read from the files' sources, without importing what only one line is
printed of.

The file of `cnn data check` is `cnn_cli/cli/data_check.py`. It says `@command("data check", ...)`
above the function that runs. A plain command line is read by `parameters`, any other by Typer.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib import import_module
from keyword import iskeyword
from pkgutil import iter_modules
from typing import Any, NamedTuple, TypeVar

from cnn_cli import cli
from cnn_cli.cli.shared.parameters import plain_values
from cnn_cli.errors import ConfigError, size_text
from cnn_cli.portable import address_space_left

PROGRAM = "cnn"
COMPLETE = "_CNN_COMPLETE"
"""The variable with which a shell asks what could stand next on a command line."""

ADDRESS_SPACE = 160 * 2**20
"""Bytes that must be left where address space is limited: NumPy, OpenBLAS and Pillow map up to
150 MB before anything is computed, and some libraries end the process where they cannot."""

F = TypeVar("F", bound=Callable[..., None])


class Listed(NamedTuple):
    """A command in the list of commands.

    Attributes:
        name: as it is typed after the program's name.
        about: what its help begins with.
        order: place in the list.
    """

    name: str
    about: str
    order: int


class Registered(NamedTuple):
    """What a file says of its command.

    Attributes:
        name, order: see `Listed`.
        examples: command lines for the help.
        callback: that runs, with its parameters; None of a group, which runs nothing itself.
        group_about: of a group, what its help begins with.
        ranks: whether all processes that `mpiexec` starts run it, or the option with which they
            do. Without, it is rank 0's alone.
        brief: it may be over before looking for garbage pays, and enables that itself where not.
    """

    name: str
    order: int
    examples: Sequence[str]
    callback: Callable[..., None] | None = None
    group_about: str = ""
    ranks: bool | str = False
    brief: bool = False

    @property
    def about(self) -> str:
        """What its help begins with."""
        from cnn_cli.docstrings import docstring  # which only help needs

        return self.group_about if self.callback is None else docstring(self.callback)

    def listed(self) -> Listed:
        """It in the list of commands."""
        return Listed(self.name, self.about, self.order)

    def is_shared(self, arguments: Sequence[str]) -> bool:
        """Whether all ranks run it, called with these arguments."""
        return self.ranks in arguments if isinstance(self.ranks, str) else self.ranks


_registered: dict[str, Registered] = {}


def command(
    name: str,
    *,
    order: int,
    examples: Sequence[str],
    ranks: bool | str = False,
    brief: bool = False,
) -> Callable[[F], F]:
    """Register a function as a command. Its docstring is the help, its parameters are the options.

    The order, and what a group is about, are written out: `_listed_in` reads them.

    Args:
        name: as it is typed after the program's name; a second word is a command of a group. The
            file has this name, with `_` for a space, and behind a word of Python's, as `import_`.
        order: place in the list of commands.
        examples: command lines for the help.
        ranks, brief: see `Registered`.
    """

    def register(callback: F) -> F:
        _registered[name] = Registered(name, order, examples, callback, ranks=ranks, brief=brief)
        return callback

    return register


def group(name: str, about: str, *, order: int, examples: Sequence[str]) -> None:
    """Register a command that is followed by one of several others.

    Args:
        name: as it is typed after the program's name.
        about: what the help begins with.
        order, examples: see `command`.
    """
    _registered[name] = Registered(name, order, examples, group_about=about)


def find(name: str) -> Registered | None:
    """The command of that name, whose file alone is imported; None where there is none."""
    stem = name.replace(" ", "_")
    _import([f"{stem}_" if iskeyword(stem) else stem])
    return _registered.get(name)


def find_all() -> list[Listed]:
    """All commands, those of groups too, in the order of the help."""
    return sorted(_list_files(_files()), key=lambda each: each.order)


@cache
def _list_files(stems: tuple[str, ...]) -> tuple[Listed, ...]:
    sources = [_source(stem) for stem in stems]
    if None in sources:  # installed without them
        _import(stems)
        return tuple(each.listed() for each in _registered.values())
    named = zip(stems, sources, strict=True)
    return tuple(each for stem, source in named for each in _listed_in(stem, source or ""))


def _source(stem: str) -> str | None:
    """Of the module beside `main`, which is not imported for that."""
    from importlib.util import find_spec

    module = f"{cli.__name__}.{stem}"
    loader: Any = getattr(find_spec(module), "loader", None)
    source: str | None = loader.get_source(module)
    return source


def _listed_in(stem: str, source: str) -> Iterator[Listed]:
    """What a file's `command` or `group` registers, from its name and source."""
    import ast

    for statement in ast.parse(source).body:
        match statement:
            case ast.FunctionDef(decorator_list=[ast.Call(func=ast.Name("command")) as call]):
                about = ast.get_docstring(statement) or ""
            case ast.Expr(ast.Call(ast.Name("group"), [_, ast.Constant(str(about))]) as call):
                pass
            case _:
                continue
        order = next(each.value for each in call.keywords if each.arg == "order")
        yield Listed(stem.replace("_", " ").rstrip(), about, ast.literal_eval(order))


def _import(stems: Sequence[str]) -> None:
    for stem in stems:
        if stem in _files():
            import_module(f"{cli.__name__}.{stem}")


@cache
def _files() -> tuple[str, ...]:
    """The modules beside `main`, which is no command but finds them."""
    return tuple(each.name for each in iter_modules(cli.__path__) if not each.ispkg)


def last_word(name: str) -> str:
    """`check` of `data check`."""
    return name.rpartition(" ")[2]


def plain_call(arguments: Sequence[str]) -> Callable[[], None] | None:
    """What a plain command line calls; None where Typer has to read it.

    Args:
        arguments: what stands after the program's name.
    """
    for words in (1, 2):
        found = find(" ".join(arguments[:words]))
        if found is None:
            return None
        if found.callback is not None:
            values = plain_values(found.callback, arguments[words:])
            return None if values is None else partial(_call, found.callback, values, found.brief)
    return None


def _call(callback: Callable[..., None], values: dict[str, Any], brief: bool) -> None:
    check_address_space()
    if not brief:
        gc.enable()
    callback(**values)


def check_address_space() -> None:
    """Refuse to start a command where its libraries would end the process.

    Raises:
        ConfigError: too little is left.
    """
    left = address_space_left()
    if left is not None and left < ADDRESS_SPACE:
        rule = f"must leave {size_text(ADDRESS_SPACE)} of address space to a command"
        raise ConfigError("ulimit -v", rule, size_text(left))
