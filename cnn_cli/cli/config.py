"""`cnn config`: what a config may hold, for editors."""

from __future__ import annotations

import json

import typer

from cnn_cli.cli import output
from cnn_cli.cli.commands import Command, Group
from cnn_cli.cli.options import Debug
from cnn_cli.errors import UsageError

NAME = "config"
EXAMPLES = """\b
Examples:
  cnn config schema > cnn.schema.json
"""

app = typer.Typer(
    name=NAME,
    cls=Group,
    help="What a config may hold.",
    epilog=EXAMPLES,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise UsageError(NAME, "must be followed by schema", "nothing")


@app.command("schema", cls=Command, epilog=EXAMPLES)
def schema(debug: Debug = False) -> None:
    """Print a JSON Schema of configs, with which editors complete, explain and check them.

    A config names it in its first line: `# yaml-language-server: $schema=cnn.schema.json`.
    """
    from cnn_cli.config.schema import config_schema

    output.write(json.dumps(config_schema(), indent=2) + "\n")
