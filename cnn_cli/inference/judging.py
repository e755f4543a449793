"""All metrics of an evaluation, by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isfinite

import numpy as np

from cnn_cli.inference.evaluate import AnyEvaluation, Evaluation
from cnn_cli.inference.metrics import (
    ClassScores,
    Confusion,
    balanced_accuracy,
    expected_calibration_error,
    f1_scores,
    kappa,
    matthews,
    per_class,
    ranking_scores,
)
from cnn_cli.inference.metrics_by_name import MetricsByName
from cnn_cli.inference.several_labels import LabelsEvaluation, LabelsJudgement
from cnn_cli.nn.types import Array


class Judgement(MetricsByName):
    """The metrics of an evaluation, each computed on first use.

    A metric is None if it is undefined for these images, such as the recall of a class without
    images, or not finite.

    Args:
        evaluation: the evaluation. `auc` and `average_precision` need its logits.
        classes: class names, in the network's order.
    """

    evaluation: Evaluation

    def __init__(self, evaluation: Evaluation, classes: Sequence[str]) -> None:
        self.evaluation = evaluation
        self.classes = classes

    def top_k(self, k: int) -> float:
        """Top-k accuracy, from 0 to 1."""
        return int((self.evaluation.label_ranks < k).sum()) / len(self.evaluation.labels)

    @property
    def loss(self) -> float:
        """Mean cross-entropy: the mean of -log p of the image's class."""
        return self.evaluation.loss

    @property
    def macro_f1(self) -> float | None:
        return f1_scores(self.confusion)[0]

    @property
    def weighted_f1(self) -> float | None:
        return f1_scores(self.confusion)[1]

    @property
    def balanced_accuracy(self) -> float | None:
        return balanced_accuracy(self.confusion)

    @property
    def kappa(self) -> float | None:
        return kappa(self.confusion)

    @property
    def mcc(self) -> float | None:
        return matthews(self.confusion)

    @property
    def auc(self) -> float | None:
        """Mean area under the one-vs-rest ROC curves of the classes."""
        return self._mean_ranking[0]

    @property
    def average_precision(self) -> float | None:
        """Mean one-vs-rest average precision of the classes."""
        return self._mean_ranking[1]

    @property
    def brier(self) -> float:
        """Brier score (1950): mean squared error of the probabilities, summed over classes.

        With two classes it is that of one class, half as much, as in scikit-learn.
        """
        mean = float(self.evaluation.squared_errors.mean(dtype=np.float64))
        return mean / 2 if self.evaluation.classes == 2 else mean

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.evaluation.confidences, self.evaluation.right)

    @property
    def right(self) -> Array:
        """(n,) whether the top-1 prediction is correct."""
        return self.evaluation.right

    @cached_property
    def confusion(self) -> Confusion:
        return self.evaluation.confusion

    @cached_property
    def by_class(self) -> dict[str, ClassScores]:
        return per_class(self.confusion, self.classes)

    @cached_property
    def rankings(self) -> list[tuple[float, float] | None]:
        """`ranking_scores` of each class; empty if the logits were not kept or are not finite."""
        of = self.evaluation
        if of.logits is None or not isfinite(of.loss):
            return [None] * of.classes
        columns = enumerate(of.probabilities_by_class())
        return [ranking_scores(column, of.labels == number) for number, column in columns]

    @cached_property
    def _mean_ranking(self) -> tuple[float | None, float | None]:
        known = [each for each in self.rankings if each is not None]
        if not known:
            return None, None
        auc, precision = np.mean(known, axis=0).tolist()
        return auc, precision


AnyJudgement = Judgement | LabelsJudgement


def judge(
    evaluation: AnyEvaluation, classes: Sequence[str], thresholds: Sequence[float] = ()
) -> AnyJudgement:
    """Return the metrics of an evaluation.

    Args:
        evaluation, classes: as in `Judgement`.
        thresholds: the classes' thresholds if images have several labels.
    """
    if isinstance(evaluation, LabelsEvaluation):
        return LabelsJudgement(evaluation, classes, thresholds)
    return Judgement(evaluation, classes)
