"""Typer's commands with plain help, and errors in the form that all errors have."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cnn_cli.cli.shared.usage import usage_error
from cnn_cli.errors import UsageError, suggest


class Command(TyperCommand):
    """A command whose arguments stand in its help as they are written: by their metavar."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error

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


class Group(TyperGroup):
    """The commands by name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            raise usage_error(error, ctx) from error

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False  # with None, Typer imports pydantic to make a boolean of it
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise UsageError(args[0], f"no such command.{suggest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def make_group(name: str, about: str, examples: str) -> typer.Typer:
    """A command that is followed by one of several others.

    Args:
        name: of the command.
        about, examples: what its help begins and ends with.
    """
    app = typer.Typer(
        name=name,
        cls=Group,
        help=about,
        epilog=examples,
        invoke_without_command=True,
        rich_markup_mode=None,
    )

    @app.callback()
    def start(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            raise UsageError(name, f"must be followed by {commands_text(context)}", "nothing")

    return app


def commands_text(context: typer.Context) -> str:
    """`train, eval or predict`: the commands there are."""
    commands: Any = context.command
    *names, last = [name for name, each in commands.commands.items() if not each.hidden]
    return f"{', '.join(names)} or {last}" if names else last
