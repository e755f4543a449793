"""The result of a learning rate range test as text."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from cnn_cli.arithmetic import ceil_div
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.training.lr_range import LrRange

ROWS = 25  # of the table, at most
ENDS = {
    "diverged": "the loss diverged at {lr:.2g}, after {steps} steps",
    "last rate": "the loss had not diverged at {lr:.2g}, the highest rate, after {steps} steps",
    "time limit": "time limit at {lr:.2g}, after {steps} of {all} steps",
}


def lr_range_text(found: LrRange, config: str, overrides: Sequence[str]) -> str:
    """Return the suggestion, the next commands, and some of the steps.

    Args:
        found: the result of the test.
        config, overrides: from the command line.
    """
    settings = [f"{key}={value:g}" for key, value in found.settings.items()]
    least = found.lowest
    pairs = [
        ("suggestion", " ".join(settings) or "none: the loss did not fall at any rate"),
        ("configured", " ".join(f"{key}={value:g}" for key, value in found.configured.items())),
        ("lowest", f"smoothed loss {number(least.smoothed)} at {least.lr:.2g}"),
    ]
    if found.ended == "time limit":
        pairs[0] = ("suggestion", "none: more steps are needed")
    last, steps = found.points[-1].lr, len(found.points)
    pairs.append(("end", ENDS[found.ended].format(lr=last, steps=steps, all=found.steps)))
    if settings:
        words = [config, *overrides, *settings]
        pairs.append(("next", f"cnn train {' '.join(map(quote, words))}"))
    rows = [
        (f"{point.lr:.2e}", _loss(point.loss), _loss(point.smoothed))
        for point in found.points[:: ceil_div(steps, ROWS)]
    ]
    return f"{format_pairs(pairs)}\n{format_table(('lr', 'loss', 'smoothed'), rows, 'rrr')}"


def _loss(value: float) -> str:
    return number(value, ".4f" if value < 100 else ".3g")
