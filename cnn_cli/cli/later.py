"""Commands that the contract names and this version lacks."""

from __future__ import annotations

import typer

from cnn_cli.errors import UsageError

NAMES = ("docs",)


def add_to(app: typer.Typer) -> None:
    """Have each of them say so, whatever comes after its name."""
    for name in NAMES:
        app.command(
            name,
            hidden=True,
            help="Not available yet.",
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_refuse)


def _refuse(context: typer.Context) -> None:
    raise UsageError(context.info_name, "not available yet")
