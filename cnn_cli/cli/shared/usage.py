"""Typer's complaints about a command line, as the program's own errors."""

from __future__ import annotations

from typing import Any

import typer

from cnn_cli.errors import UsageError, suggest


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
    program, _, command = str(context.command_path).partition(" ")
    return command or program


def _written(parameter: Any) -> str:
    """`--ckpt FILE` or `CONFIG`, as the help shows it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return f"{parameter.opts[0]} {parameter.metavar}"
