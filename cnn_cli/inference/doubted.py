"""Images whose labels are contradicted by networks that were trained without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn_cli import safe_csv
from cnn_cli.data.dataset import Split
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.errors import DataError, none_readable
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.confident import find_answer_doubts, find_doubts
from cnn_cli.inference.evaluate_files import EvaluationOptions, evaluate_files, own_dataset
from cnn_cli.inference.out_of_fold import OutOfFold, check_scores_fit
from cnn_cli.nn.types import Array

COLUMNS = ("path", "label", "suggested", "prob", "label_prob")


@dataclass(frozen=True, slots=True)
class Doubt:
    """An image with a doubtful label.

    Attributes:
        path: its file.
        label: its current class; with several labels, all of them joined.
        suggested: the class predicted by the network; with several labels, the corrected labels.
        prob, label_prob: probabilities of `suggested` and of `label`; with several labels, of the
            two answers for the most doubtful class.
    """

    path: str
    label: str
    suggested: str
    prob: float
    label_prob: float


@dataclass(frozen=True, slots=True, eq=False)
class DoubtedLabels:
    """The doubtful labels of a run.

    Attributes:
        run: the run folder, or the checkpoint.
        preprocess: the preprocessing of its networks.
        images: number of images examined.
        bad: the unreadable images.
        estimated_wrong: see `confident.Doubts`; with several labels, number of answers, see
            `AnswerDoubts`.
        thresholds: by class; None for classes without images.
        doubts: the most doubtful first.
    """

    run: Path
    preprocess: Preprocess
    images: int
    bad: tuple[ImageError, ...]
    estimated_wrong: float
    thresholds: dict[str, float | None]
    doubts: list[Doubt]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "run": str(self.run),
            "images": self.images,
            "bad_files": len(self.bad),
            "estimated_wrong": self.estimated_wrong,
            "thresholds": self.thresholds,
            "doubts": [asdict(doubt) for doubt in self.doubts],
        }

    def as_csv(self) -> bytes:
        """Return CSV with one row per doubtful image, the most doubtful first."""
        rows: list[Sequence[str | float]] = [COLUMNS]
        rows += [tuple(asdict(doubt).values()) for doubt in self.doubts]
        return safe_csv.encoded(rows)


def doubt_folds(run: Path, predictions: OutOfFold) -> DoubtedLabels:
    """Examine a run of folds: each image is judged by the network of its fold."""
    folds = predictions.folds
    paths = [fold.paths[int(i)] for fold in folds for i in fold.evaluation.indices]
    labels = np.concatenate([fold.evaluation.labels for fold in folds])
    probabilities = np.concatenate([fold.probabilities for fold in folds])
    bad = [error for fold in folds for error in fold.bad.values()]
    return _doubted(run, predictions.classifiers[0], paths, labels, probabilities, bad)


def doubt_held_back(classifier: Classifier, options: EvaluationOptions) -> DoubtedLabels:
    """Examine the validation and test images of an ordinary run.

    Args:
        classifier: the network of the run.
        options: how to evaluate it.

    Raises:
        DataError: there are no such images, none can be read, or their scores do not fit into
            memory.
    """
    dataset = own_dataset(classifier)
    parts = [part for part in (dataset.val, dataset.test) if part is not None and len(part)]
    if not parts:
        rule = "must have images that the network was not trained on; train folds instead"
        raise DataError(dataset.root, rule, "none")
    images = Split(
        [path for part in parts for path in part.paths],
        np.concatenate([part.labels for part in parts]),
    )
    check_scores_fit(classifier, len(images))
    for remark in dataset.remarks:
        options.note(remark)
    options.note(
        f"only {len(images):,} images are looked at; {len(dataset.train):,} others were trained "
        f"on. With a config instead of a run, networks are trained that judge all"
    )
    evaluation, bad = evaluate_files(classifier, images, options, calibrate=True)
    if evaluation.logits is None or not len(evaluation.labels):
        raise none_readable(dataset.root, len(bad), bad.values())
    return _doubted(
        classifier.path,
        classifier,
        [images.paths[int(i)] for i in evaluation.indices],
        evaluation.labels,
        classifier.probabilities(evaluation.logits),
        list(bad.values()),
    )


def _doubted(
    run: Path,
    classifier: Classifier,
    paths: Sequence[str],
    labels: Array,
    probabilities: Array,
    bad: Sequence[ImageError],
) -> DoubtedLabels:
    """Apply confident learning to images; `paths` excludes those in `bad`."""
    if not np.isfinite(probabilities).all():
        raise DataError(run, "must give each image probabilities that are finite")
    names = classifier.classes
    if classifier.several is None:
        found = find_doubts(probabilities, labels)
        wrong, thresholds = found.estimated_wrong, found.thresholds
        doubts = [
            Doubt(
                paths[row],
                names[int(labels[row])],
                names[suggested],
                float(probabilities[row, suggested]),
                float(probabilities[row, labels[row]]),
            )
            for row, suggested in zip(found.rows.tolist(), found.suggested.tolist(), strict=True)
        ]
    else:
        answers = find_answer_doubts(probabilities, labels)
        wrong, thresholds = answers.estimated_wrong, answers.thresholds

        def text(has: Array) -> str:
            return classifier.label_text([names[i] for i in np.flatnonzero(has)]) or ""

        doubts = []
        for row in answers.rows.tolist():
            prob = float(answers.own[row, answers.worst(row)])
            now, suggested = labels[row] > 0, (labels[row] > 0) != answers.wrong[row]
            doubts.append(Doubt(paths[row], text(now), text(suggested), 1 - prob, prob))
    limits = (None if np.isinf(limit) else float(limit) for limit in thresholds)
    return DoubtedLabels(
        run,
        classifier.preprocess,
        len(paths),
        tuple(bad),
        wrong,
        dict(zip(names, limits, strict=True)),
        doubts,
    )
