"""Out-of-fold predictions: each image is predicted by the network that was not trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan
from pathlib import Path

import numpy as np

from cnn_cli import safe_csv
from cnn_cli.data.folds import Fold
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.targets import numbers_of
from cnn_cli.errors import DataError, none_readable
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import AnyEvaluation, Evaluation
from cnn_cli.inference.evaluate_files import EvaluationOptions, evaluate_files, own_dataset
from cnn_cli.inference.judging import AnyJudgement, judge
from cnn_cli.metric_names import TOP1, Metric, overall_of
from cnn_cli.nn.types import Array
from cnn_cli.runs.checkpoint import BEST
from cnn_cli.runs.folder import fold_folder, folds_in
from cnn_cli.system import check_memory

COLUMNS = ("path", "fold", "true", "label", "prob", "true_prob", "error")
# Followed by prob:NAME for each class.
LABELS_COLUMNS = ("path", "fold", "true", "label", "prob", "error")


@dataclass(frozen=True, slots=True, eq=False)
class FoldPredictions:
    """Predictions of one fold's network for the images on which it was not trained.

    Attributes:
        number: number of the fold, from 1.
        paths, labels: its images, see `data.targets`.
        bad: unreadable images, by position.
        evaluation, judgement: of the readable images.
        probabilities: (readable images, classes).
    """

    number: int
    paths: list[str]
    labels: Array
    bad: dict[int, ImageError]
    evaluation: AnyEvaluation
    judgement: AnyJudgement
    probabilities: Array


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over the folds: mean and sample standard deviation (n - 1)."""

    mean: float
    std: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions of all folds.

    Attributes:
        classes: class names, in the networks' order.
        classifiers: the networks of the folds.
        folds: the predictions, in order of the folds.
    """

    classes: tuple[str, ...]
    classifiers: list[Classifier]
    folds: list[FoldPredictions]

    def spread(self, metric: Metric) -> Spread | None:
        """Return a metric over the folds; None if it is undefined for one of them."""
        values = [fold.judgement.value(metric) for fold in self.folds]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return Spread(float(np.mean(known)), float(np.std(known, ddof=1)))

    def spreads(self) -> dict[str, Spread | None]:
        """Return all metrics that are not of one class."""
        names = (TOP1.name, *overall_of(self.classifiers[0].labels_kind))
        return {name: self.spread(Metric(name)) for name in names}

    def as_csv(self) -> bytes:
        """Return CSV with one row per image: path, fold, true class, label, probability, error.

        With several labels, the probabilities of the predicted labels and of all classes follow.
        """
        return safe_csv.encoded(self._rows())

    def _rows(self) -> Iterator[Sequence[str | float]]:
        if self.classifiers[0].several is None:
            yield COLUMNS
        else:
            yield [*LABELS_COLUMNS, *(f"prob:{name}" for name in self.classes)]
        for fold, classifier in zip(self.folds, self.classifiers, strict=True):
            said = {int(i): row for row, i in enumerate(fold.evaluation.indices)}
            for i, path in enumerate(fold.paths):
                names = [self.classes[number] for number in numbers_of(fold.labels, i)]
                true = classifier.label_text(names) or names[0]
                known: list[str | float] = [path, fold.number, true]
                if i in said:
                    yield [*known, *_said(classifier, fold, said[i])]
                elif classifier.several is None:
                    yield [*known, "", "", "", fold.bad[i].message]
                else:
                    yield [*known, "", "", fold.bad[i].message, *[""] * len(self.classes)]


def _said(classifier: Classifier, fold: FoldPredictions, row: int) -> list[str | float]:
    """Return the cells with the prediction for an image."""
    of, probabilities = fold.evaluation, fold.probabilities[row]
    if isinstance(of, Evaluation):
        confidence = float(of.confidences[row])
        label = "" if isnan(confidence) else classifier.classes[int(of.guesses[row])]
        return [label, confidence, float(of.label_probabilities[row]), ""]
    given = classifier.labels(probabilities) or ()
    separator = "" if classifier.several is None else classifier.several.separator
    label = classifier.label_text([name for name, _ in given]) or ""
    told = separator.join(f"{prob:.6f}" for _, prob in given)
    return [label, told, "", *probabilities.tolist()]


def load_folds(run: Path, tta: str | None = None) -> list[Classifier]:
    """Load the networks of a run of folds.

    Args:
        run: its folder.
        tta: as in `Classifier.load`.

    Raises:
        DataError: it is not a run of folds, or some folds are not trained.
    """
    found = folds_in(run)
    if not found:
        raise DataError(run, "must be a run of folds, as cnn train CONFIG --folds 5 makes it")
    first = Classifier.load(found[0], tta)
    fold = Fold.parse(first.config.data.fold or "")
    if fold is None:
        raise DataError(found[0], "must be a run of one fold, with data.fold in its config")
    places = [fold_folder(run, number + 1) for number in range(fold.count)]
    missing = [place.name for place in places if not (place / BEST).exists()]
    if missing:
        rule = f"must hold {fold.count} folds that have been trained; --resume continues them"
        raise DataError(run, rule, f"none in {', '.join(missing[:3])}")
    classifiers = [first, *(Classifier.load(place, tta) for place in places[1:])]
    for number, each in enumerate(classifiers, 1):
        if each.classes != first.classes or each.config.data.fold != str(Fold(number, fold.count)):
            raise DataError(
                each.path, f"must be fold {number} of {fold.count}, of the same classes"
            )
    return classifiers


def predict_out_of_fold(classifiers: list[Classifier], options: EvaluationOptions) -> OutOfFold:
    """Predict each fold's images with its network; rank 0 has the result.

    Args:
        classifiers: the result of `load_folds`.
        options: how to evaluate them.

    Raises:
        DataError: no image of a fold can be read, or the probabilities do not fit into memory.
    """
    folds = []
    for number, classifier in enumerate(classifiers, 1):
        dataset = own_dataset(classifier)
        images = dataset.val
        if images is None:  # `take_fold` leaves no fold empty
            raise ValueError("a fold without images")
        every = len(images) * len(classifiers)
        options.job.first(partial(check_scores_fit, classifier, every))
        evaluation, bad = evaluate_files(classifier, images, options, calibrate=True)
        if evaluation.logits is None or (options.job.rank == 0 and not len(evaluation.labels)):
            rule = f"fold {number} must hold a readable image"
            raise none_readable(dataset.root, len(bad), bad.values(), rule)
        probabilities = classifier.probabilities(evaluation.logits)
        scaled = evaluation.at_temperature(classifier.temperature)
        judgement = judge(scaled, classifier.classes, classifier.thresholds)
        folds.append(
            FoldPredictions(
                number, images.paths, images.labels, bad, scaled, judgement, probabilities
            )
        )
    return OutOfFold(classifiers[0].classes, classifiers, folds)


def check_scores_fit(classifier: Classifier, images: int) -> None:
    """Refuse to predict more images than fit into memory, with one logit and one probability per
    class.

    Raises:
        DataError: they do not fit.
    """
    numbers = 2 * images * len(classifier.classes)
    need = numbers * classifier.params.dtype.itemsize
    check_memory(need, classifier.path, "the scores of all images need more memory than there is")
