"""`cnn completion`: print or install shell completion."""

from __future__ import annotations

from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import COMPLETE, PROGRAM, command
from cnn_cli.cli.shared.options import Debug
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.cli.shared.shells import shell_completion
from cnn_cli.errors import DataError, reason

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    order=120,
    examples=(
        "cnn completion bash --install",
        "cnn completion zsh > _cnn",
    ),
)
def run(
    shell: Annotated[
        str,
        Argument(
            parser=values.OneWord(SHELLS),
            place="completion",
            help="The shell.",
            show_default=False,
        ),
    ],
    install: Annotated[
        bool,
        Option("--install", help="Install it, so that new shells use it."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Print or install shell completion."""
    completion = shell_completion()
    if not install:
        lines = completion.get_completion_script(
            prog_name=PROGRAM, complete_var=COMPLETE, shell=shell
        )
        output.write(lines.rstrip() + "\n")
        return
    try:
        _, path = completion.install(shell=shell, prog_name=PROGRAM, complete_var=COMPLETE)
    except OSError as error:
        raise DataError("--install", "cannot be written", reason(error)) from error
    output.write_lines([f"written  {path}"])
