"""`cnn config`: what a config may hold, for editors."""

from __future__ import annotations

from cnn_cli.cli.shared.commands import group

EXAMPLES = ("cnn config schema > cnn.schema.json",)

group("config", "What a config may hold.", order=140, examples=EXAMPLES)
