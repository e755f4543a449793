"""The confusion matrix of the best epoch's validation, stored in the checkpoint for plots."""

from __future__ import annotations

import numpy as np

from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.nn.types import Array
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.checkpoint import Checkpoint

GROUP, NAME = "validation", "confusion"
MOST_CLASSES = 1000  # their matrix has four megabytes


def validation_group(
    evaluation: Evaluation | None, ranks: Ranks = ALONE
) -> dict[str, dict[str, Array]]:
    """Return the confusion matrix as a checkpoint group; empty without images or with too many
    classes.

    Args:
        evaluation: of this rank's images.
        ranks: their matrices are added up.
    """
    if evaluation is None or evaluation.classes > MOST_CLASSES:
        return {}
    counts = np.sum(ranks.gather(evaluation.confusion.matrix), axis=0)
    return {GROUP: {NAME: counts.astype(np.int32)}}


def stored_confusion(checkpoint: Checkpoint) -> Array | None:
    """Read the (classes, classes) counts of `validation_group`; None if there are none."""
    matrix = checkpoint.groups.get(GROUP, {}).get(NAME)
    classes = len(checkpoint.meta["classes"])
    if matrix is None or matrix.shape != (classes, classes) or matrix.dtype.kind != "i":
        return None
    return matrix if matrix.min() >= 0 else None
