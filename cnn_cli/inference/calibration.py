"""Temperature scaling: probabilities that mean what they say (Guo et al. 2017, section 4.2).

Networks are mostly surer of themselves than they are right. Dividing all logits by one number, the
temperature, changes no guess; the one that minimizes the loss on images the network was not trained
on makes its confidence fit its accuracy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cnn_cli.data.targets import are_multiple
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.evaluate import AnyEvaluation, row_blocks
from cnn_cli.inference.metrics import expected_calibration_error
from cnn_cli.inference.rejection import GROUP, Rejection
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.nn.loss import sigmoid
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.lock import LOCK
from cnn_cli.runs.meta import SEVERAL, TEMPERATURES

META = "calibration"
HALVINGS = 60  # of the range of temperatures: beyond what a float64 tells apart


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `cnn eval --calibrate` found.

    Attributes:
        temperature: that logits are divided by.
        images: it was measured on.
        loss_before, loss_after: mean cross-entropy without and with it; of several labels binary.
        ece_before, ece_after: the expected calibration error; None of several labels.
    """

    temperature: float
    images: int
    loss_before: float
    loss_after: float
    ece_before: float | None = None
    ece_after: float | None = None


def calibrate(evaluation: AnyEvaluation) -> Calibration | None:
    """The best temperature for what a network said; None where none is best, see below.

    Args:
        evaluation: of at least one image, at temperature 1, with its logits.

    Raises:
        ValueError: they were not kept.
    """
    if evaluation.logits is None:
        raise ValueError("evaluated without keep_logits")
    temperature = best_temperature(evaluation.logits, evaluation.labels)
    if temperature is None:
        return None
    if isinstance(evaluation, LabelsEvaluation):
        losses = (each.loss for each in (evaluation, evaluation.at_temperature(temperature)))
        return Calibration(temperature, len(evaluation.labels), *losses)
    after = evaluation.at_temperature(temperature)
    return Calibration(
        temperature=temperature,
        images=len(evaluation.labels),
        loss_before=evaluation.loss,
        loss_after=after.loss,
        ece_before=expected_calibration_error(evaluation.confidences, evaluation.right),
        ece_after=expected_calibration_error(after.confidences, after.right),
    )


def best_temperature(logits: Array, labels: Array) -> float | None:
    """The temperature that minimizes the mean cross-entropy of ``softmax(logits / temperature)``.

    The loss is convex in b = 1 / temperature, with the derivative mean(Σ p·z − z_label) for
    probabilities p of b·z: bisection finds where that is 0. Of several labels, the loss is binary
    cross-entropy of sigmoids, and its derivative mean(Σ (p − label)·z).

    Args:
        logits: (n, classes).
        labels: (n,) class numbers, or (n, classes) 0 and 1.

    Returns:
        None where it lies outside `TEMPERATURES`: towards 0 every image is classified right, and
        the loss falls as far as one likes; towards infinity guessing would do better.
    """
    blocks, several = list(row_blocks(*logits.shape)), are_multiple(labels)
    slopes = np.empty(len(labels))

    def slope(log_temperature: float) -> float:
        for rows in blocks:
            z = logits[rows].astype(np.float64)
            if several:
                p = sigmoid(z / np.exp(log_temperature))
                slopes[rows] = ((p - labels[rows]) * z).sum(axis=1)
                continue
            z -= z.max(axis=1, keepdims=True)
            p = np.exp(z / np.exp(log_temperature))
            p /= p.sum(axis=1, keepdims=True)
            slopes[rows] = (p * z).sum(axis=1) - z[np.arange(len(z)), labels[rows]]
        return float(slopes.mean())

    low, high = np.log(TEMPERATURES)
    if not slope(high) < 0 < slope(low):
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) < 0 else (middle, high)
    return float(np.exp((low + high) / 2))


@contextmanager
def changing(file: Path) -> Iterator[None]:
    """Keep a checkpoint to this process; in a run folder, no training may replace it meanwhile.

    Raises:
        LockedError: a training is under way there.
    """
    folder = Path(os.path.realpath(file)).parent
    if (folder / LOCK).exists():
        with RunFolder(folder):
            yield
    else:
        yield


def store(
    file: Path,
    calibration: Calibration,
    rejection: Rejection | None = None,
    several: SeveralLabels | None = None,
) -> None:
    """Put a calibration into a checkpoint, in place of an older one; all else stays.

    Args:
        file: the checkpoint.
        calibration: what was found.
        rejection: what to refuse; None leaves that as it is.
        several: with thresholds for calibrated probabilities; None where images have one label.

    Raises:
        DataError: the file cannot be read or written; it is as it was.
    """
    checkpoint = load_checkpoint(file)
    checkpoint.meta[META] = asdict(calibration)
    if several is not None:
        checkpoint.meta[SEVERAL] = several.as_meta()
    if rejection is not None:
        checkpoint.meta[GROUP] = rejection.as_meta()
        checkpoint.groups[GROUP] = rejection.arrays()
    save_checkpoint(file, checkpoint)
