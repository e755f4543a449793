"""Silence matplotlib's messages about its folders."""

from __future__ import annotations

import logging


def hush_matplotlib() -> None:
    """Hide the warning that it found no folder for its settings and fonts.

    matplotlib works without them. Call this before importing it.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
