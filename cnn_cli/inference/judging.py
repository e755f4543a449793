"""Every metric by its name, of what a network said of labelled images."""

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
    """The metrics of an evaluation; each is computed when it is asked for first.

    Where a metric is not defined for these images, such as the recall of a class without any, or
    is not finite, it is None.

    Args:
        evaluation: what the network said. `auc` and `average_precision` need its logits.
        classes: names, in the network's order.
    """

    evaluation: Evaluation

    def __init__(self, evaluation: Evaluation, classes: Sequence[str]) -> None:
        self.evaluation = evaluation
        self.classes = classes

    def top_k(self, k: int) -> float:
        """The share of images whose class is among the first k guesses."""
        return int((self.evaluation.label_ranks < k).sum()) / len(self.evaluation.labels)

    @property
    def loss(self) -> float:
        """The mean of -log p of the image's class."""
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
        """The mean area of the classes under their ROC curves, each against all others."""
        return self._mean_ranking[0]

    @property
    def average_precision(self) -> float | None:
        """The mean average precision of the classes, each against all others."""
        return self._mean_ranking[1]

    @property
    def brier(self) -> float:
        """The mean squared error of the probabilities, summed over classes (Brier 1950).

        Of two classes it is that of one of them, half as much: as scikit-learn has both.
        """
        mean = float(self.evaluation.squared_errors.mean(dtype=np.float64))
        return mean / 2 if self.evaluation.classes == 2 else mean

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.evaluation.confidences, self.evaluation.right)

    @property
    def right(self) -> Array:
        """(n,) whether the first guess is the image's class."""
        return self.evaluation.right

    @cached_property
    def confusion(self) -> Confusion:
        return self.evaluation.confusion

    @cached_property
    def by_class(self) -> dict[str, ClassScores]:
        return per_class(self.confusion, self.classes)

    @cached_property
    def rankings(self) -> list[tuple[float, float] | None]:
        """`ranking_scores` of each class; of none where logits were not kept or are not finite."""
        of = self.evaluation
        if of.logits is None or not isfinite(of.loss) or not np.isfinite(of.squared_errors).all():
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
    """The metrics of what a network said.

    Args:
        evaluation, classes: of `Judgement`.
        thresholds: of the classes, where images have several labels.
    """
    if isinstance(evaluation, LabelsEvaluation):
        return LabelsJudgement(evaluation, classes, thresholds)
    return Judgement(evaluation, classes)
