"""Typer commands, for help, completion and errors on the command line.

`parameters` parses plain command lines without Typer, because importing Typer and creating its
commands takes as long as importing NumPy.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache, update_wrapper
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from cnn_cli import __version__
from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import (
    PROGRAM,
    Listed,
    Registered,
    check_address_space,
    find,
    find_all,
    last_word,
)
from cnn_cli.cli.shared.options import Debug
from cnn_cli.cli.shared.parameters import REQUIRED, Option, Parameter, declared
from cnn_cli.cli.shared.values import OrAlone
from cnn_cli.errors import ExitCode, UsageError, suggest
from cnn_cli.peer_names import OPTIONS, PLACES, peer_hint

ABOUT = "Train, evaluate and run convolutional image classifiers, in plain NumPy."
EXAMPLES = """\b
Examples:
  cnn init photos
  cnn train configs/small.yaml
  cnn eval --ckpt runs/small
  cnn predict photo.jpg --ckpt runs/small
"""
START = """\
Train an image classifier on a folder that has one folder of images per class:

    cnn init photos             propose a config, photos.yaml
    cnn train photos.yaml       train it, into runs/photos
    cnn report runs/photos      write a page on how good it is
    cnn predict new.jpg --ckpt runs/photos

'cnn --help' lists the commands, 'cnn docs first-steps' shows more.
"""
OVERRIDES = "[KEY=VALUE]..."


@cache
def program() -> Any:
    """Return Typer's command for a whole command line."""
    return _make_group(PROGRAM, ABOUT, EXAMPLES, _start)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


def _start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    if context.invoked_subcommand is None:
        for line in START.splitlines():
            output.say(line)
        raise typer.Exit(ExitCode.USAGE)


def run(arguments: list[str], instruction: str | None) -> int:
    """Run a command line; return the exit code.

    Args:
        arguments: the words after the program's name.
        instruction: the value of the variable `COMPLETE`, with which a shell requests completions.
    """
    command = program()
    try:
        if instruction is not None:
            from cnn_cli.cli.shared.shells import answer

            answer(command, instruction)
            return ExitCode.OK
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ExitCode.OK


@cache
def _made(registered: Registered) -> Any:
    """Return Typer's command."""
    name, about = registered.name, registered.about
    epilog = "\b\nExamples:\n" + "".join(f"  {line}\n" for line in registered.examples)
    if registered.callback is None:

        def start(context: typer.Context) -> None:
            if context.invoked_subcommand is None:
                raise UsageError(name, f"must be followed by {commands_text(context)}", "nothing")

        return _make_group(name, about, epilog, start)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    described = app.command(last_word(name), cls=Command, help=about, epilog=epilog)
    described(_for_typer(registered.callback))
    made: Any = typer.main.get_command(app)
    made.single = {each.name for each in declared(registered.callback) if each.is_single}
    return made


def _make_group(name: str, about: str, epilog: str, start: Callable[..., None]) -> Any:
    """Return Typer's command for a group, or for the whole program.

    Args:
        name: name of the group; `PROGRAM` for commands outside groups.
        about, epilog: beginning and end of the help.
        start: called before a command of the group; its parameters are the group's options.
    """
    app = typer.Typer(
        name=name,
        cls=Group,
        help=about,
        epilog=epilog,
        invoke_without_command=True,
        add_completion=False,  # its options would import pydantic; `cnn completion` replaces them
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(start)
    return typer.main.get_command(app)


def _for_typer(callback: Callable[..., None]) -> Callable[..., None]:
    """Return the function with Typer's own parameter declarations."""

    def call(*values: Any, **named: Any) -> None:
        callback(*values, **named)

    update_wrapper(call, callback)
    parameters = []
    for each in declared(callback):
        kind = Annotated[each.type, _typers(each.described)] if each.described else each.type
        default = inspect.Parameter.empty if each.default is REQUIRED else each.default
        place = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters.append(inspect.Parameter(each.name, place, default=default, annotation=kind))
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(call)["__signature__"] = inspect.Signature(parameters)
    return call


def _typers(described: Parameter) -> Any:
    make = typer.Option if isinstance(described, Option) else typer.Argument
    rest = {key: value for key, value in vars(described).items() if key not in ("names", "parse")}
    return make(*described.names, parser=described.parse, **rest)


_DEBUG = _typers(get_args(Debug)[1])  # for a callback of Typer's own


class _Reader:
    """Parses the values of a parameter: one, or a list if it may be repeated."""

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
    """Commands whose parameters are converted by their parsers alone.

    Typer creates a pydantic adapter for a type even if a parser is given, which would cost a
    prediction a third of its start-up time.
    """

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the class beside it
        if option is not None:
            option.default = False  # for None, Typer would import pydantic to parse a boolean
        return option

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # as above
        for each in parameters:
            parser = _parser(each)
            if parser is not None:
                each._runtime_param = _Reader(parser)
        return parameters


class Command(_OwnReaders, TyperCommand):
    """A command whose help shows arguments by their metavar.

    Attributes:
        single: names of the parameters that may be given only once.
    """

    single: Collection[str] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = self._with_values(args)
        try:
            rest = super().parse_args(ctx, list(args))
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error
        if not ctx.resilient_parsing:  # of a line that a shell completes
            self._check_single(ctx, args)
        return rest

    def _check_single(self, ctx: Any, args: list[str]) -> None:
        *_, given = self.make_parser(ctx).parse_args(args=args)
        for each in self.params:
            if each.name in self.single and given.count(each) > 1:
                raise UsageError(each.opts[0], "may be given only once", given.count(each))

    def _with_values(self, args: list[str]) -> list[str]:
        """Insert the default values of options that stand without one."""
        parsers = {
            name: parser
            for each in self.params
            if isinstance(parser := getattr(_parser(each), "func", None), OrAlone)
            for name in each.opts
        }
        if not parsers:
            return args
        end = args.index("--") if "--" in args else len(args)
        completed = []
        for place, arg in enumerate(args[:end]):
            completed.append(arg)
            if arg in parsers:
                completed += parsers[arg].completed(args[place + 1 : end])
        return completed + args[end:]

    def invoke(self, ctx: Any) -> Any:
        check_address_space()
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
    """Commands by name, each imported on demand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error

    def list_commands(self, ctx: Any) -> list[str]:
        return [last_word(each.name) for each in self._listed()]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # The list needs no options, which are slow to create in Typer.
        lines = [TyperCommand(last_word(each.name), help=each.about) for each in self._listed()]
        TyperGroup(name=self.name, commands=lines).format_commands(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = None if " " in cmd_name else find(self._before() + cmd_name)
        return None if found is None else _made(found)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise UsageError(
                args[0], f"no such command.{suggest(args[0], self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)

    def _listed(self) -> list[Listed]:
        """Return its commands, in the order of the help."""
        return [each for each in find_all() if each.name == self._before() + last_word(each.name)]

    def _before(self) -> str:
        """Return the prefix of its commands' full names."""
        return "" if self.name == PROGRAM else f"{self.name} "


def commands_text(context: typer.Context) -> str:
    """Return `train, eval or predict`: the commands of a context's group."""
    own: Any = context.command
    *names, last = own.list_commands(context)
    return f"{', '.join(names)} or {last}" if names else str(last)


def usage_error(error: typer.TyperException, context: Any) -> UsageError:
    """Convert an error of Typer to the common form.

    Typer's error classes are not public, so they are distinguished by their attributes.

    Args:
        error: the error raised during parsing.
        context: context of the command, with its parameters.
    """
    parameters = context.command.get_params(context)
    option = getattr(error, "option_name", None)
    if option is not None:
        owner = next((one for one in parameters if option in one.opts), None)
        if owner is None:
            known = [name for one in parameters for name in one.opts if name.startswith("-")]
            rule = f"no such option of {_name(context)}.{_near(option, known, parameters)}"
            return UsageError(option, rule)
        if owner.is_flag:
            return UsageError(option, "takes no value")
        return UsageError(option, "needs a value", "nothing")
    if extra := re.fullmatch(r"Got unexpected extra argument.*? \((.*)\)", error.message):
        return UsageError(_name(context), "takes no more arguments", extra[1])
    parameter: Any = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        return UsageError(_name(context), f"needs {_written(parameter)}", "nothing")
    place = _name(context) if parameter is None else _written(parameter)
    return UsageError(place, error.message[:1].lower() + error.message[1:].rstrip("."))


def _near(option: str, known: Sequence[str], parameters: Sequence[Any]) -> str:
    """Suggest what to type instead: an option, a key or an argument."""
    meant = [name for name in OPTIONS.get(option, ()) if name in known]
    meant += [name for name in known if name.startswith(option)]  # an abbreviation
    if meant:
        return f" Did you mean '{meant[0]}'?"
    metavars = [str(each.metavar) for each in parameters if each.param_type_name == "argument"]
    for word in PLACES.get(option, ()):
        if any(word in re.findall("[A-Z]+", metavar) for metavar in metavars):
            return f" Write {word} without {option}."
    key = option.strip("-").replace("-", "_")
    hint = peer_hint(key)
    if not set(re.findall(r"--[a-z-]+", hint)) <= set(known):
        hint = ""
    if OVERRIDES in metavars:
        from cnn_cli.config.messages import in_a_section  # slow, and only errors need it

        hint = hint or in_a_section(key)
        if hint:
            return hint.replace("'?", "=…'?")
    if hint and "'" not in hint:
        return hint
    # The dashes, which all options share, would make any two short options alike.
    bare = [name[2:] for name in known if name.startswith("--") and name != "--help"]
    return suggest(option.strip("-"), bare).replace("'", "'--", 1)


def _name(context: Any) -> str:
    """Return `train` or `data check`: the command's name, or the program's."""
    program, _, words = str(context.command_path).partition(" ")
    return words or program


def _written(parameter: Any) -> str:
    """Return `--ckpt FILE` or `CONFIG`, as the help shows it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return f"{parameter.opts[0]} {parameter.metavar}"
