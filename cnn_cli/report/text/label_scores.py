"""The scores of images of several labels, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnn_cli import safe_csv
from cnn_cli.inference.classifier import SeveralLabels
from cnn_cli.inference.several_labels import LabelsEvaluation, LabelsJudgement
from cnn_cli.metric_names import Metric, overall_of
from cnn_cli.nn.types import Array
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.structs import as_dict

# Metrics that share a line, beside `loss` and the top ones.
LINES = (
    ("average_precision", "auc"),
    ("macro_f1", "micro_f1", "weighted_f1"),
    ("subset_accuracy",),
    ("brier",),
)
PREDICTION_COLUMNS = ("path", "true", "label", "prob", "error")
PROBABILITY = "{:.6f}"


@dataclass(frozen=True, slots=True)
class LabelScores:
    """What `cnn eval` prints.

    Attributes:
        judgement: of at least one image.
        k: guesses that count for `topk`.
        bad_files: how many images could not be read.
        tta: kind of test-time augmentation.
        chosen_by: which metric the weights were the best by, in words.
    """

    judgement: LabelsJudgement
    k: int
    bad_files: int
    tta: str | None
    chosen_by: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        judgement, overall = self.judgement, self._overall()
        top = {"top1": judgement.top_k(1), "topk": judgement.top_k(self.k), "k": self.k}
        if self.k > 1:
            top[f"top{self.k}"] = top["topk"]
        images = {"images": len(judgement.evaluation.labels), "bad_files": self.bad_files}
        classes = {
            name: as_dict(scores) | {"average_precision": precision, "threshold": threshold}
            for (name, scores), precision, threshold in self._by_class()
        }
        return {"loss": overall["loss"], **top, **images, "tta": self.tta, **overall} | {
            "classes": classes
        }

    def as_text(self, width: int | None = None, most: int | None = None) -> str:
        """The scores, an empty line, and a table of the classes.

        Args:
            width: columns that there are for it.
            most: rows of the table, those of the lowest F1; None for all.
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
        for first, *others in LINES:
            values = (f"{name} {number(overall[name])}" for name in others)
            pairs.append((first, ", ".join((number(overall[first]), *values))))
        if self.tta is not None:
            pairs.append(("tta", self.tta))
        if self.chosen_by is not None:
            pairs.append(("chosen by", self.chosen_by))
        shown, note = self._by_class(), ""
        if most is not None and len(shown) > most:
            note = f"the {most} of {len(shown):,} classes with the lowest f1; | cat shows all\n"
            shown = sorted(shown, key=lambda each: each[0][1].rank)[:most]
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
        """Name and scores, average precision, and threshold of each class."""
        judgement = self.judgement
        precisions = [None if each is None else each[1] for each in judgement.rankings]
        return [
            *zip(judgement.by_class.items(), precisions, judgement.thresholds, strict=True),
        ]


def label_predictions_csv(
    names: Sequence[str],
    paths: Sequence[str],
    labels: Array,
    evaluation: LabelsEvaluation,
    errors: Mapping[int, str],
    several: SeveralLabels,
) -> bytes:
    """A row per image, in the split's order: its labels, and those that it is given.

    Args:
        names: of the classes.
        paths, labels: of the split.
        evaluation: of the images that could be read.
        errors: why the others could not, by position in the split.
        several: how labels are given and written.
    """
    lines = [safe_csv.line(PREDICTION_COLUMNS)]
    rows = dict(zip(evaluation.indices.tolist(), evaluation.probabilities, strict=True))
    for i, path in enumerate(paths):
        true = several.text([names[j] for j in labels[i].nonzero()[0]])
        given, told = "", ""
        if i in rows:
            found = several.of(rows[i])
            given = several.text([names[j] for j in found])
            told = several.separator.join(PROBABILITY.format(rows[i][j]) for j in found)
        lines.append(safe_csv.line([path, true, given, told, errors.get(i, "")]))
    return "".join(lines).encode("utf-8", "backslashreplace")
