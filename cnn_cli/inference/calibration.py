"""Temperature scaling: calibrated probabilities (Guo et al. 2017, section 4.2).

Networks are usually overconfident. Dividing all logits by one number, the temperature, changes no
prediction. The temperature that minimizes the loss on held-out images makes confidence match
accuracy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from cnn_cli.data.targets import are_multiple
from cnn_cli.errors import DataError
from cnn_cli.inference.classifier import Classifier, SeveralLabels
from cnn_cli.inference.evaluate import AnyEvaluation, row_blocks
from cnn_cli.inference.judging import judge
from cnn_cli.inference.metrics import expected_calibration_error
from cnn_cli.inference.rejection import REJECTION, Rejection
from cnn_cli.inference.several_labels import LabelsEvaluation, best_thresholds
from cnn_cli.nn.loss import sigmoid
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.lock import LOCK
from cnn_cli.runs.meta import SEVERAL, TEMPERATURES

META = "calibration"
HALVINGS = 60  # of the range of temperatures: beyond float64 precision


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of `cnn eval --calibrate`.

    Attributes:
        temperature: divisor of the logits.
        images: number of images used.
        loss_before, loss_after: mean cross-entropy without and with it; binary with several labels.
        ece_before, ece_after: expected calibration error; None with several labels.
    """

    temperature: float
    images: int
    loss_before: float
    loss_after: float
    ece_before: float | None = None
    ece_after: float | None = None


def calibrate_classifier(
    classifier: Classifier,
    evaluation: AnyEvaluation,
    place: object,
    *,
    rejects: bool,
    note: Callable[[str], None],
) -> tuple[Calibration, SeveralLabels | None]:
    """Find the best temperature of a classifier and, with several labels, thresholds for it.

    If no temperature is best, it is 1, provided that something else is fitted.

    Args:
        classifier: one network.
        evaluation: see `calibrate`.
        place: the images, for messages.
        rejects: whether a `Rejection` is fitted as well.
        note: receives a note if no temperature is best.

    Raises:
        DataError: the scores are not finite, or nothing can be fitted.
    """
    if not isfinite(evaluation.loss):
        raise DataError(place, "--calibrate needs finite scores", f"a loss of {evaluation.loss}")
    found, several = calibrate(evaluation), classifier.several
    if found is None:
        right = judge(evaluation, classifier.classes, classifier.thresholds).right.mean()
        share = f"{right:.4f} of {len(evaluation.labels):,} images right"
        if several is None and not rejects:
            rule = "--calibrate needs images of which the network gets some wrong and most right"
            raise DataError(place, rule, share)
        note(f"{classifier.path}: no temperature is best with {share}: it is 1")
        found = calibration_at(evaluation, 1)
    if several is not None and isinstance(evaluation, LabelsEvaluation):
        thresholds = best_thresholds(evaluation.at_temperature(found.temperature))
        several = SeveralLabels(several.separator, thresholds)
    return found, several


def calibrate(evaluation: AnyEvaluation) -> Calibration | None:
    """Find the best temperature for an evaluation; None if there is none, see `best_temperature`.

    Args:
        evaluation: of at least one image, at temperature 1, with its logits.

    Raises:
        ValueError: the logits were not kept.
    """
    if evaluation.logits is None:
        raise ValueError("evaluated without keep_logits")
    temperature = best_temperature(evaluation.logits, evaluation.labels)
    return None if temperature is None else calibration_at(evaluation, temperature)


def calibration_at(evaluation: AnyEvaluation, temperature: float) -> Calibration:
    """Return what a temperature does to an evaluation at temperature 1, see `calibrate`."""
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
    """Return the temperature that minimizes the mean cross-entropy of ``softmax(logits /
    temperature)``.

    The loss is convex in b = 1 / temperature, with derivative mean(Σ p·z − z_label) for the
    probabilities p of b·z; bisection finds its zero. With several labels, the loss is binary
    cross-entropy of sigmoids, with derivative mean(Σ (p − label)·z).

    Args:
        logits: (n, classes).
        labels: (n,) class numbers, or (n, classes) of 0 and 1.

    Returns:
        The temperature; None if it lies outside `TEMPERATURES`. At 0, every image is classified
        correctly and the loss has no minimum; at infinity, the network is worse than guessing.
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
    """Lock a checkpoint's run folder, so that no training replaces the checkpoint meanwhile.

    Raises:
        LockedError: a training is running there.
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
    """Store a calibration in a checkpoint, replacing an older one; everything else is kept.

    Args:
        file: the checkpoint.
        calibration: the calibration.
        rejection: the rejection; None keeps the stored one.
        several: thresholds for calibrated probabilities; None if images have one label.

    Raises:
        DataError: the file cannot be read or written; it is unchanged.
    """
    checkpoint = load_checkpoint(file)
    checkpoint.meta[META] = asdict(calibration)
    if several is not None:
        checkpoint.meta[SEVERAL] = several.as_meta()
    if rejection is not None:
        checkpoint.meta[REJECTION] = rejection.as_meta()
        checkpoint.groups[REJECTION] = rejection.arrays()
    save_checkpoint(file, checkpoint)
