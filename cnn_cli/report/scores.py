"""The scores of an evaluation, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.report.table import format_pairs, format_table
from cnn_cli.training.evaluate import Evaluation
from cnn_cli.training.metrics import ClassScores, confusion_matrix, per_class, top_k_correct


@dataclass(frozen=True, slots=True)
class Scores:
    """What `cnn eval` prints.

    Attributes:
        loss: mean cross-entropy.
        top1, topk: shares of images whose class is the first guess, or among the first `k`.
        images: how many were evaluated.
        bad_files: how many more could not be read.
        classes: by name, in the model's order.
    """

    loss: float
    top1: float
    topk: float
    k: int
    images: int
    bad_files: int
    classes: dict[str, ClassScores]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        """The scores, an empty line, and a table of the classes."""
        pairs = [
            ("images", f"{self.images:,}"),
            ("bad files", f"{self.bad_files:,}"),
            ("loss", f"{self.loss:.4f}"),
            ("top-1", f"{self.top1:.4f}"),
            (f"top-{self.k}", f"{self.topk:.4f}"),
        ]
        if self.bad_files == 0:
            del pairs[1]
        rows = [
            (name, *(f"{x:.4f}" for x in (of.precision, of.recall, of.f1)), f"{of.support:,}")
            for name, of in self.classes.items()
        ]
        header = ("class", "precision", "recall", "f1", "support")
        return format_pairs(pairs) + "\n" + format_table(header, rows, "lrrrr")


def score(evaluation: Evaluation, names: Sequence[str], bad_files: int, k: int) -> Scores:
    """The scores of at least one image.

    Args:
        evaluation: what the network said.
        names: of the classes.
        bad_files: images that could not be read.
        k: guesses that count for `topk`; at most the number of classes.
    """
    k = min(k, len(names))
    guesses = evaluation.probabilities.argmax(axis=1)
    confusion = confusion_matrix(evaluation.labels, guesses, len(names))
    return Scores(
        loss=evaluation.loss,
        top1=evaluation.top1,
        topk=top_share(evaluation, k),
        k=k,
        images=len(evaluation.labels),
        bad_files=bad_files,
        classes=per_class(confusion, names),
    )


def top_share(evaluation: Evaluation, k: int) -> float:
    """The share of images whose class is among the first k guesses."""
    correct = top_k_correct(evaluation.probabilities, evaluation.labels, k)
    return correct / len(evaluation.labels)
