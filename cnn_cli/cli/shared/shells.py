"""Shell completion: answers to what a shell asks at the Tab key."""

from __future__ import annotations

import importlib
from typing import Any

from cnn_cli.cli.shared.commands import COMPLETE, PROGRAM
from cnn_cli.errors import CnnError


def answer(program: Any, instruction: str) -> None:
    """Print the possible next words for the command line in a shell's variables.

    Args:
        program: the whole command.
        instruction: the value of the variable `COMPLETE`.
    """
    try:
        shell_completion().shell_complete(program, {}, PROGRAM, COMPLETE, instruction)
    except CnnError:
        return  # the line is already wrong: nothing can follow


def shell_completion() -> Any:
    """Return Typer's code for shells, which is slow to import."""
    completion: Any = importlib.import_module("typer.completion")
    completion.completion_init()
    return completion
