"""The scores for images with several labels, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.inference.calibration import Calibration
from cnn_cli.inference.judging import AnyJudgement
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.metric_names import Metric, overall_of
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.scores import (
    Scores,
    how_scored,
    metric_lines,
    score,
    worst_classes,
)
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.structs import as_dict

# Metrics that share a line, after `loss` and the top-k metrics.
LINES = (
    ("average_precision", "auc"),
    ("macro_f1", "micro_f1", "weighted_f1"),
    ("subset_accuracy",),
    ("brier",),
)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """What `cnn eval` prints.

    Attributes:
        judgement: metrics of at least one image.
        k: the k of `topk`.
        bad_files: number of unreadable images.
        tta: kind of test-time augmentation; None for one view.
        tta_is_stored: it is the checkpoint's, not the option's.
        calibration: result of `--calibrate`.
        chosen_by: the metric by which the weights were selected, in words.
    """

    judgement: LabelsJudgement
    k: int
    bad_files: int
    tta: str | None = None
    tta_is_stored: bool = False
    calibration: Calibration | None = None
    chosen_by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the scores for JSON."""
        judgement, overall = self.judgement, self._overall()
        top = {"top1": judgement.top_k(1), "topk": judgement.top_k(self.k), "k": self.k}
        if self.k > 1:
            top[f"top{self.k}"] = top["topk"]
        images = {"images": len(judgement.evaluation.labels), "bad_files": self.bad_files}
        classes = {
            name: as_dict(scores) | {"average_precision": precision, "threshold": threshold}
            for (name, scores), precision, threshold in self._by_class()
        }
        how: dict[str, Any] = {"temperature": judgement.evaluation.temperature, "tta": self.tta}
        if self.calibration is not None:
            how["calibration"] = asdict(self.calibration)
        return {"loss": overall["loss"], **top, **images, **how, **overall, "classes": classes}

    def as_text(self, width: int | None = None, most: int | None = None) -> str:
        """Return the scores, an empty line, and a table of the classes.

        Args:
            width: columns available.
            most: rows of the table, lowest F1 first; None for all.
        """
        judgement, overall = self.judgement, self._overall()
        pairs = [
            ("images", f"{len(judgement.evaluation.labels):,}"),
            ("loss", number(overall["loss"])),
            ("top-1", f"{judgement.top_k(1):.4f}"),
            (f"top-{self.k}", f"{judgement.top_k(self.k):.4f}"),
        ]
        if self.bad_files:
            pairs.insert(1, ("bad files", f"{self.bad_files:,}"))
        pairs += metric_lines(LINES, overall)
        pairs += how_scored(self.tta, self.tta_is_stored, judgement.evaluation.temperature)
        if self.calibration is not None:
            of = self.calibration
            pairs.append(("calibration", f"loss {of.loss_before:.4f} to {of.loss_after:.4f}"))
        if self.chosen_by is not None:
            pairs.append(("chosen by", self.chosen_by))
        shown, note = worst_classes(self._by_class(), most, lambda each: each[0][1].rank)
        rows = [
            (
                name,
                *map(number, (threshold, of.precision, of.recall, of.f1, precision)),
                f"{of.support:,}",
            )
            for (name, of), precision, threshold in shown
        ]
        header = ("class", "threshold", "precision", "recall", "f1", "ap", "support")
        table = format_table(header, rows, "lrrrrrr", width=width)
        return format_pairs(pairs) + "\n" + table + note

    def _overall(self) -> dict[str, float | None]:
        return {name: self.judgement.value(Metric(name)) for name in overall_of("multiple")}

    def _by_class(self) -> list[Any]:
        """Return name and scores, average precision, and threshold of each class."""
        judgement = self.judgement
        precisions = [None if each is None else each[1] for each in judgement.rankings]
        return [
            *zip(judgement.by_class.items(), precisions, judgement.thresholds, strict=True),
        ]


def score_any(
    judgement: AnyJudgement,
    bad_files: int,
    k: int,
    *,
    tta: str | None,
    tta_is_stored: bool,
    calibration: Calibration | None,
    chosen_by: str | None,
) -> Scores | LabelScores:
    """Return the scores of at least one image, with one label or several; arguments as in
    `score`.
    """
    k = min(k, judgement.evaluation.classes)
    if isinstance(judgement, LabelsJudgement):
        return LabelScores(judgement, k, bad_files, tta, tta_is_stored, calibration, chosen_by)
    return score(
        judgement,
        bad_files,
        k,
        temperature=judgement.evaluation.temperature,
        tta=tta,
        tta_is_stored=tta_is_stored,
        calibration=calibration,
        chosen_by=chosen_by,
    )
