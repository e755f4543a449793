"""The scores of an evaluation, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.inference.calibration import Calibration
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.inference.metrics import (
    ClassScores,
    expected_calibration_error,
    per_class,
    wilson_interval,
)
from cnn_cli.report.text.table import format_pairs, format_table


@dataclass(frozen=True, slots=True)
class Scores:
    """What `cnn eval` prints.

    Attributes:
        loss: mean cross-entropy.
        top1, topk: shares of images whose class is the first guess, or among the first `k`.
        images: how many were evaluated.
        bad_files: how many more could not be read.
        top1_interval: where the accuracy lies with 95 % confidence.
        ece: expected calibration error.
        temperature: that logits were divided by; 1 for none.
        tta: kind of test-time augmentation.
        calibration: what was found by `--calibrate`.
        classes: by name, in the model's order.
    """

    loss: float
    top1: float
    topk: float
    k: int
    images: int
    bad_files: int
    top1_interval: tuple[float, float]
    ece: float
    temperature: float
    tta: str | None
    calibration: Calibration | None
    classes: dict[str, ClassScores]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `calibration` only where it was asked for."""
        document = asdict(self)
        if self.calibration is None:
            del document["calibration"]
        return document

    def as_text(self, width: int | None = None, most: int | None = None) -> str:
        """The scores, an empty line, and a table of the classes.

        Args:
            width: columns that there are for it; names that do not fit are shortened.
            most: rows of the table; where there are more classes, those of the lowest F1 are
                shown. None for all.
        """
        low, high = self.top1_interval
        pairs = [
            ("images", f"{self.images:,}"),
            ("bad files", f"{self.bad_files:,}"),
            ("loss", f"{self.loss:.4f}"),
            ("top-1", f"{self.top1:.4f}, with 95 % confidence {low:.4f} to {high:.4f}"),
            (f"top-{self.k}", f"{self.topk:.4f}"),
            ("ece", f"{self.ece:.4f}"),
        ]
        if self.bad_files == 0:
            del pairs[1]
        if self.tta is not None:
            pairs.append(("tta", self.tta))
        if self.temperature != 1:
            pairs.append(("temperature", f"{self.temperature:.4f}"))
        if self.calibration is not None:
            of = self.calibration
            change = f"loss {of.loss_before:.4f} to {of.loss_after:.4f}"
            change += f", ece {of.ece_before:.4f} to {of.ece_after:.4f}"
            pairs.append(("calibration", change))
        shown = list(self.classes.items())
        note = ""
        if most is not None and len(shown) > most:
            note = f"the {most} of {len(shown):,} classes with the lowest f1; | cat shows all\n"
            shown = sorted(shown, key=lambda item: item[1].f1)[:most]
        rows = [
            (name, *(f"{x:.4f}" for x in (of.precision, of.recall, of.f1)), f"{of.support:,}")
            for name, of in shown
        ]
        header = ("class", "precision", "recall", "f1", "support")
        table = format_table(header, rows, "lrrrr", width=width)
        return format_pairs(pairs) + "\n" + table + note


def score(
    evaluation: Evaluation,
    names: Sequence[str],
    bad_files: int,
    k: int,
    *,
    temperature: float = 1.0,
    tta: str | None = None,
    calibration: Calibration | None = None,
) -> Scores:
    """The scores of at least one image.

    Args:
        evaluation: what the network said, at that temperature.
        names: of the classes.
        bad_files: images that could not be read.
        k: guesses that count for `topk`; at most the number of classes.
        temperature, tta, calibration: of `Scores`.
    """
    k = min(k, len(names))
    return Scores(
        loss=evaluation.loss,
        top1=evaluation.top1,
        topk=top_k_accuracy(evaluation, k),
        k=k,
        images=len(evaluation.labels),
        bad_files=bad_files,
        top1_interval=wilson_interval(int(evaluation.right.sum()), len(evaluation.labels)),
        ece=expected_calibration_error(evaluation.confidences, evaluation.right),
        temperature=temperature,
        tta=tta,
        calibration=calibration,
        classes=per_class(evaluation.confusion, names),
    )


def top_k_accuracy(evaluation: Evaluation, k: int) -> float:
    """The share of images whose class is among the first k guesses."""
    return int((evaluation.label_ranks < k).sum()) / len(evaluation.labels)
