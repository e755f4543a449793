"""`cnn docs`: show the documentation in the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Debug
from cnn_cli.cli.shared.parameters import Argument
from cnn_cli.errors import UsageError, suggest

FOLDER = Path(__file__).parent.parent / "docs"
FIRST = "first-steps"
WIDTH = 80  # without a terminal
WIDEST = 100  # longer lines are hard to read


@command(
    "docs",
    order=110,
    examples=(
        "cnn docs",
        "cnn docs first-steps",
        "cnn docs convolution | less",
    ),
)
def run(
    page: Annotated[
        str | None,
        Argument(
            metavar="[PAGE]",
            parser=values.text,
            help="The page to show. Default: list the pages.",
            autocompletion=lambda incomplete: [
                name for name in page_names() if name.startswith(incomplete)
            ],
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a page of the documentation, or list the pages.

    On a terminal, pages are shown by $PAGER, or less. NO_COLOR=1 turns off bold and colors.
    """
    from cnn_cli.report.text.markdown import render_page, summary_of
    from cnn_cli.report.text.table import format_pairs

    names = page_names()
    if page is None:
        output.write(format_pairs((name, summary_of(page_text(name))) for name in names))
        return
    if page not in names:
        raise UsageError(page, f"no such page; cnn docs lists them.{suggest(page, names)}")
    size = output.terminal_size()
    styled = size is not None and "NO_COLOR" not in os.environ
    width = WIDTH if size is None else min(size.columns, WIDEST)
    text = render_page(page_text(page), width, styled)
    if size is None or text.count("\n") < size.lines or not _paged(text):
        output.write(text)


def page_names() -> list[str]:
    """Return the names of the pages, beginning with the first to read."""
    return sorted(
        (path.stem for path in FOLDER.glob("*.md")), key=lambda name: (name != FIRST, name)
    )


def page_text(name: str) -> str:
    """Return a page's Markdown."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def _paged(text: str) -> bool:
    """Whether a pager could show it."""
    pager = shlex.split(os.environ.get("PAGER") or "less")
    if not pager or shutil.which(pager[0]) is None:
        return False
    import signal
    import subprocess

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pager handles it
    try:
        # -R lets less show escape sequences; LESS also keeps the user's options.
        environment = {"LESS": "R"} | os.environ
        subprocess.run(pager, input=text.encode(), env=environment, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    return True
