"""`cnn completion`: what has a shell complete commands and options, and the answers it asks for."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.options import Debug
from cnn_cli.errors import CnnError, DataError, reason

NAME = "completion"
EXAMPLES = """\b
Examples:
  cnn completion bash --install
  cnn completion zsh > _cnn
"""
VARIABLE = "_CNN_COMPLETE"  # set by the shell where it asks
SHELLS = ("bash", "zsh", "fish")


def command(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="|".join(SHELLS),
            parser=values.choice("SHELL", SHELLS),
            help="Which shell.",
            show_default=False,
        ),
    ],
    install: Annotated[
        bool,
        typer.Option("--install", help="Write it where the shell reads it at its next start."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Print the lines with which a shell completes commands, options and files at the Tab key."""
    completion = _typer_completion()
    if not install:
        lines = completion.get_completion_script(
            prog_name="cnn", complete_var=VARIABLE, shell=shell
        )
        output.write(lines.rstrip() + "\n")
        return
    try:
        _, path = completion.install(shell=shell, prog_name="cnn", complete_var=VARIABLE)
    except OSError as error:
        raise DataError("--install", "cannot be written", reason(error)) from error
    output.write(f"written  {path}\n")


def answer(program: Any, instruction: str) -> None:
    """Print what could stand next on the command line that a shell has in its variables.

    Args:
        program: the whole command.
        instruction: the value of `VARIABLE`.
    """
    try:
        _typer_completion().shell_complete(program, {}, "cnn", VARIABLE, instruction)
    except CnnError:
        return  # what stands there already is wrong: nothing fits behind it


def _typer_completion() -> Any:
    """Typer's part for shells, which imports much, and which nothing else needs."""
    completion: Any = importlib.import_module("typer.completion")
    completion.completion_init()
    return completion
