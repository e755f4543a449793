"""`cnn config schema`: a JSON Schema of configs, for editors."""

from __future__ import annotations

import json

from cnn_cli.cli.config import EXAMPLES
from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Debug


@command("config schema", order=10, examples=EXAMPLES)
def run(debug: Debug = False) -> None:
    """Print the JSON Schema of configs, which editors use.

    Refer to it in the first line of a config:

    `# yaml-language-server: $schema=cnn.schema.json`
    """
    from cnn_cli.config.json_schema import config_schema

    output.write(json.dumps(config_schema(), indent=2) + "\n")
