"""Open checkpoints as one classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnn_cli.inference.classifier import Classifier
from cnn_cli.runs.checkpoint import holds_folds


def open_classifier(paths: Sequence[str | Path], tta: str | None = None) -> Classifier:
    """Open one checkpoint, or several, or runs of folds, as one classifier.

    Args:
        paths: at least one, see `Classifier.load`.
        tta: as in `Classifier.load`, for all of them.

    Raises:
        DataError: one cannot be read, or they differ in classes or preprocessing.
    """
    if len(paths) == 1 and not holds_folds(paths[0]):
        return Classifier.load(paths[0], tta)
    from cnn_cli.inference.ensemble import Ensemble
    from cnn_cli.inference.out_of_fold import load_folds

    members: list[Classifier] = []
    for path in map(Path, paths):
        members += load_folds(path, tta) if holds_folds(path) else [Classifier.load(path, tta)]
    return Ensemble.of(members, Path(paths[0]) if len(paths) == 1 else members[0].path)
