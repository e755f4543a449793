"""The registry of commands: each is registered in its own file, which is imported when the command
is called.

The list of commands is read from the files' source code, so that listing them imports nothing.

The file of `cnn data check` is `cnn_cli/cli/data_check.py`. It has `@command("data check", ...)`
above the function that runs. `parameters` parses plain command lines, Typer any others.
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
"""The environment variable with which a shell requests completions."""

ADDRESS_SPACE = 160 * 2**20
"""Bytes of limited address space that must be free: NumPy, OpenBLAS and Pillow map up to 150 MB at
start, and some libraries abort the process if they cannot.
"""

F = TypeVar("F", bound=Callable[..., None])


class Listed(NamedTuple):
    """A command in the list of commands.

    Attributes:
        name: the words after the program's name.
        about: the beginning of its help.
        order: position in the list.
    """

    name: str
    about: str
    order: int


class Registered(NamedTuple):
    """A registered command.

    Attributes:
        name, order: see `Listed`.
        examples: command lines for the help.
        callback: the function to run, with its parameters; None for a group.
        group_about: the beginning of a group's help.
        ranks: whether all processes started by `mpiexec` run it, or the option with which they do.
            Otherwise only rank 0 runs it.
        brief: it may end before garbage collection pays off, and enables that itself otherwise.
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
        """The beginning of its help."""
        from cnn_cli.docstrings import docstring  # only help needs it

        return self.group_about if self.callback is None else docstring(self.callback)

    def listed(self) -> Listed:
        """Its entry in the list of commands."""
        return Listed(self.name, self.about, self.order)

    def is_shared(self, arguments: Sequence[str]) -> bool:
        """Whether all ranks run it with these arguments."""
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

    The order, and a group's description, must be literals: `_listed_in` reads them from the source.

    Args:
        name: the words after the program's name; the second word is a command of a group. The file
            has this name, with `_` for a space, and appended to Python keywords, as in `import_`.
        order: position in the list of commands.
        examples: command lines for the help.
        ranks, brief: see `Registered`.
    """

    def register(callback: F) -> F:
        _registered[name] = Registered(name, order, examples, callback, ranks=ranks, brief=brief)
        return callback

    return register


def group(name: str, about: str, *, order: int, examples: Sequence[str]) -> None:
    """Register a group of commands.

    Args:
        name: the word after the program's name.
        about: the beginning of the help.
        order, examples: see `command`.
    """
    _registered[name] = Registered(name, order, examples, group_about=about)


def find(name: str) -> Registered | None:
    """Return the command of that name, importing only its file; None if there is none."""
    stem = name.replace(" ", "_")
    _import([f"{stem}_" if iskeyword(stem) else stem])
    return _registered.get(name)


def find_all() -> list[Listed]:
    """Return all commands, including those of groups, in the order of the help."""
    return sorted(_list_files(_files()), key=lambda each: each.order)


@cache
def _list_files(stems: tuple[str, ...]) -> tuple[Listed, ...]:
    sources = [_source(stem) for stem in stems]
    if None in sources:  # installed without source files
        _import(stems)
        return tuple(each.listed() for each in _registered.values())
    named = zip(stems, sources, strict=True)
    return tuple(each for stem, source in named for each in _listed_in(stem, source or ""))


def _source(stem: str) -> str | None:
    """Return the source of a module beside `main` without importing it."""
    from importlib.util import find_spec

    module = f"{cli.__name__}.{stem}"
    loader: Any = getattr(find_spec(module), "loader", None)
    source: str | None = loader.get_source(module)
    return source


def _listed_in(stem: str, source: str) -> Iterator[Listed]:
    """Yield what `command` and `group` register in a file, from its source."""
    import ast

    from cnn_cli.docstrings import syntax_tree

    for statement in syntax_tree(source).body:
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
    """Return the modules beside `main`, which is not a command."""
    return tuple(each.name for each in iter_modules(cli.__path__) if not each.ispkg)


def last_word(name: str) -> str:
    """Return `check` for `data check`."""
    return name.rpartition(" ")[2]


def plain_call(arguments: Sequence[str]) -> Callable[[], None] | None:
    """Return a function that runs a plain command line; None if Typer has to parse it.

    Args:
        arguments: the words after the program's name.
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
    """Refuse to start a command if its libraries would abort the process.

    Raises:
        ConfigError: too little address space is left.
    """
    left = address_space_left()
    if left is not None and left < ADDRESS_SPACE:
        rule = f"must leave {size_text(ADDRESS_SPACE)} of address space to a command"
        raise ConfigError("ulimit -v", rule, size_text(left))
