"""`--folds`: the number of cross-validation folds."""

from __future__ import annotations

from collections.abc import Sequence

from cnn_cli.cli.shared import values
from cnn_cli.errors import UsageError

OPTION = "--folds"
parse_folds = values.whole(below=1001)


def check_folds(folds: int | None, overrides: Sequence[str]) -> None:
    """Refuse settings that contradict folds.

    Raises:
        UsageError: one fold, or a key that `--folds` replaces.
    """
    if folds is None:
        return
    if folds < 2:
        raise UsageError(OPTION, "must be 2 or more", folds)
    for override in overrides:
        key = override.partition("=")[0]
        if key in ("data.val_split", "data.fold"):
            raise UsageError(OPTION, f"takes the place of {key}; give one of them", override)
