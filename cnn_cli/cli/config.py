"""`cnn config`: information about configs, for editors."""

from __future__ import annotations

from cnn_cli.cli.shared.commands import group

EXAMPLES = ("cnn config schema > cnn.schema.json",)

group("config", "Print the JSON Schema of configs.", order=140, examples=EXAMPLES)
