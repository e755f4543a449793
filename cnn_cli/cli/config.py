"""`cnn config`: what a config may hold, for editors."""

from __future__ import annotations

import json

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import Command, make_group
from cnn_cli.cli.shared.options import Debug

NAME = "config"
EXAMPLES = """\b
Examples:
  cnn config schema > cnn.schema.json
"""

app = make_group(NAME, "What a config may hold.", EXAMPLES)


@app.command("schema", cls=Command, epilog=EXAMPLES)
def schema(debug: Debug = False) -> None:
    """Print a JSON Schema of configs, with which editors complete, explain and check them.

    A config names it in its first line: `# yaml-language-server: $schema=cnn.schema.json`.
    """
    from cnn_cli.config.json_schema import config_schema

    output.write(json.dumps(config_schema(), indent=2) + "\n")
