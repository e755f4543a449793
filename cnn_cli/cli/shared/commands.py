"""Commands: registered once, in their own file, which is imported when its command is called.

The list of commands is read from the files' sources, without importing what only one line is
printed of.

The file of `cnn data check` is `cnn_cli/cli/data_check.py`. It says `@command("data check", ...)`
above the function that runs. Typer makes the parser; errors have the form that all errors have.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from keyword import iskeyword
from pkgutil import iter_modules
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from cnn_cli import cli
from cnn_cli.cli.shared.values import OrAlone
from cnn_cli.docstrings import docstring
from cnn_cli.errors import ConfigError, UsageError, size_text, suggest
from cnn_cli.portable import address_space_left

PROGRAM = "cnn"
COMPLETE = "_CNN_COMPLETE"
"""The variable with which a shell asks what could stand next on a command line."""

ADDRESS_SPACE = 160 * 2**20
"""Bytes that must be left where address space is limited: NumPy, OpenBLAS and Pillow map up to
150 MB before anything is computed, and some libraries end the process where they cannot."""

F = TypeVar("F", bound=Callable[..., None])


@dataclass(frozen=True, slots=True)
class Listed:
    """A command in the list of commands.

    Attributes:
        name: as it is typed after the program's name.
        about: what its help begins with.
        order: place in the list.
    """

    name: str
    about: str
    order: int


@dataclass(frozen=True, slots=True)
class Registered(Listed):
    """What a file says of its command.

    Attributes:
        make: Typer's command.
        ranks: whether all processes that `mpiexec` starts run it, or the option with which they
            do. Without, it is rank 0's alone.
    """

    make: Callable[[], Any]
    ranks: bool | str = False

    def is_shared(self, arguments: Sequence[str]) -> bool:
        """Whether all ranks run it, called with these arguments."""
        return self.ranks in arguments if isinstance(self.ranks, str) else self.ranks


_registered: dict[str, Registered] = {}


def command(
    name: str, *, order: int, examples: Sequence[str], ranks: bool | str = False
) -> Callable[[F], F]:
    """Register a function as a command. Its docstring is the help, its parameters are the options.

    The order, and what a group is about, are written out: `_listed_in` reads them.

    Args:
        name: as it is typed after the program's name; a second word is a command of a group. The
            file has this name, with `_` for a space, and behind a word of Python's, as `import_`.
        order: place in the list of commands.
        examples: command lines for the help.
        ranks: see `Registered`.
    """

    def register(callback: F) -> F:
        about = docstring(callback)

        @cache
        def make() -> Any:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            epilog = _epilog(examples)
            app.command(_word(name), cls=Command, help=about, epilog=epilog)(callback)
            return typer.main.get_command(app)

        _registered[name] = Registered(name, about, order, make, ranks)
        return callback

    return register


def group(name: str, about: str, *, order: int, examples: Sequence[str]) -> None:
    """Register a command that is followed by one of several others.

    Args:
        name: as it is typed after the program's name.
        about: what the help begins with.
        order, examples: see `command`.
    """

    @cache
    def make() -> Any:
        return make_group(name, about, _epilog(examples), _must_be_followed)

    def _must_be_followed(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise UsageError(name, f"must be followed by {commands_text(context)}", "nothing")

    _registered[name] = Registered(name, about, order, make)


def make_group(name: str, about: str, epilog: str, start: Callable[..., None]) -> Any:
    """Typer's command for a group, or for the whole program.

    Args:
        name: of the group; `PROGRAM` for the commands that stand in no group.
        about, epilog: what the help begins and ends with.
        start: called before one of the group's commands; its parameters are the group's options.
    """
    app = typer.Typer(
        name=name,
        cls=Group,
        help=about,
        epilog=epilog,
        invoke_without_command=True,
        add_completion=False,  # its options would have pydantic imported; there is `completion`
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(start)
    return typer.main.get_command(app)


def find(name: str) -> Registered | None:
    """The command of that name, whose file alone is imported; None where there is none."""
    stem = name.replace(" ", "_")
    _import([f"{stem}_" if iskeyword(stem) else stem])
    return _registered.get(name)


def _find_all() -> list[Listed]:
    """All commands, those of groups too, in the order of the help."""
    return sorted(_list_files(_files()), key=lambda each: each.order)


@cache
def _list_files(stems: tuple[str, ...]) -> tuple[Listed, ...]:
    sources = [_source(stem) for stem in stems]
    if None in sources:  # installed without them
        _import(stems)
        return tuple(_registered.values())
    named = zip(stems, sources, strict=True)
    return tuple(each for stem, source in named for each in _listed_in(stem, source or ""))


def _source(stem: str) -> str | None:
    """Of the module beside `main`, which is not imported for that."""
    module = f"{cli.__name__}.{stem}"
    loader: Any = getattr(find_spec(module), "loader", None)
    source: str | None = loader.get_source(module)
    return source


def _listed_in(stem: str, source: str) -> Iterator[Listed]:
    """What a file's `command` or `group` registers, from its name and source."""
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


def _word(name: str) -> str:
    """`check` of `data check`."""
    return name.rpartition(" ")[2]


def _epilog(examples: Sequence[str]) -> str:
    return "\b\nExamples:\n" + "".join(f"  {line}\n" for line in examples)


class _Reader:
    """Values of a parameter by its parser: one, or a list where it may be given several times."""

    def __init__(self, parser: Callable[[Any], Any]) -> None:
        self._parser = parser

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if param.multiple or param.nargs == -1:
            return [self._parser(each) for each in value or ()]
        return None if value is None else self._parser(value)


def _parser(parameter: Any) -> Any:
    described = getattr(parameter, "type_descriptor", None)
    return getattr(getattr(described, "parameter_info", None), "parser", None)


class _OwnReaders:
    """Parameters whose values are made by their parsers alone.

    Typer makes a pydantic adapter of a type even where a parser is given, which costs a prediction
    a third of its start-up.
    """

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the class beside it
        if option is not None:
            option.default = False  # with None, Typer imports pydantic to make a boolean of it
        return option

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in parameters:
            parser = _parser(each)
            if parser is not None:
                each._runtime_param = _Reader(parser)
        return parameters


class Command(_OwnReaders, TyperCommand):
    """A command whose arguments stand in its help as they are written: by their metavar."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._with_values(args))
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error

    def _with_values(self, args: list[str]) -> list[str]:
        """The arguments with the values that options have where they stand alone."""
        readers = {
            name: parser
            for each in self.params
            if isinstance(parser := _parser(each), OrAlone)
            for name in each.opts
        }
        if not readers:
            return args
        end = args.index("--") if "--" in args else len(args)
        completed = []
        for place, arg in enumerate(args[:end]):
            completed.append(arg)
            if arg in readers:
                completed += readers[arg].completed(args[place + 1 : end])
        return completed + args[end:]

    def invoke(self, ctx: Any) -> Any:
        left = address_space_left()
        if left is not None and left < ADDRESS_SPACE:
            rule = f"must leave {size_text(ADDRESS_SPACE)} of address space to a command"
            raise ConfigError("ulimit -v", rule, size_text(left))
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*(metavar for metavar, _ in self._arguments()), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        if arguments := self._arguments():
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        records = [
            param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if param.param_type_name == "option"
        ]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def _arguments(self) -> list[tuple[str, str]]:
        arguments: list[Any] = [
            param for param in self.params if param.param_type_name == "argument"
        ]
        return [(param.metavar, param.help) for param in arguments]


class Group(_OwnReaders, TyperGroup):
    """Commands by name, each imported when it is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error

    def list_commands(self, ctx: Any) -> list[str]:
        return [_word(each.name) for each in self._listed()]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # The list needs no options, of which making Typer's commands takes its time.
        lines = [TyperCommand(_word(each.name), help=each.about) for each in self._listed()]
        TyperGroup(name=self.name, commands=lines).format_commands(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = None if " " in cmd_name else find(self._before() + cmd_name)
        return None if found is None else found.make()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise UsageError(
                args[0], f"no such command.{suggest(args[0], self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)

    def _listed(self) -> list[Listed]:
        """Its commands, in the order of the help."""
        return [each for each in _find_all() if each.name == self._before() + _word(each.name)]

    def _before(self) -> str:
        """What the full names of its commands begin with."""
        return "" if self.name == PROGRAM else f"{self.name} "


def commands_text(context: typer.Context) -> str:
    """`train, eval or predict`: the commands of a context's group."""
    own: Any = context.command
    *names, last = own.list_commands(context)
    return f"{', '.join(names)} or {last}" if names else str(last)


def usage_error(error: typer.TyperException, context: Any) -> UsageError:
    """What Typer found wrong, in the form that all errors have.

    Typer's kinds of errors are not public names, so that they are told by what they carry.

    Args:
        error: as it was raised while a command line was read.
        context: of the command, with its parameters.
    """
    parameters = context.command.get_params(context)
    option = getattr(error, "option_name", None)
    if option is not None:
        owner = next((one for one in parameters if option in one.opts), None)
        if owner is None:
            known = [name for one in parameters for name in one.opts if name.startswith("-")]
            rule = f"no such option of {_name(context)}.{suggest(option, known)}"
            return UsageError(option, rule)
        if owner.is_flag:
            return UsageError(option, "takes no value")
        return UsageError(option, "needs a value", "nothing")
    parameter: Any = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        return UsageError(_name(context), f"needs {_written(parameter)}", "nothing")
    place = _name(context) if parameter is None else _written(parameter)
    return UsageError(place, error.message[:1].lower() + error.message[1:].rstrip("."))


def _name(context: Any) -> str:
    """`train`, or `data check`: what was typed after the program's name, or that."""
    program, _, words = str(context.command_path).partition(" ")
    return words or program


def _written(parameter: Any) -> str:
    """`--ckpt FILE` or `CONFIG`, as the help shows it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return f"{parameter.opts[0]} {parameter.metavar}"
