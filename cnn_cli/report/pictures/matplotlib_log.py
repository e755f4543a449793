"""What matplotlib says about its folders, which is no line of this program's."""

from __future__ import annotations

import logging


def hush_matplotlib() -> None:
    """Have it keep to itself that it found no folder for its settings and fonts.

    It does without them; called before it is imported.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
