"""The scores of an evaluation, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnn_cli.inference.calibration import Calibration
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.metrics import ClassScores, wilson_interval
from cnn_cli.metric_names import OVERALL, Metric
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.structs import as_dict

# Metrics that share a line.
LINES = (
    ("macro_f1", "weighted_f1"),
    ("kappa", "mcc", "balanced_accuracy"),
    ("auc", "average_precision"),
    ("brier", "ece"),
)


@dataclass(frozen=True, slots=True)
class Scores:
    """What `cnn eval` prints.

    Attributes:
        top1, topk: top-1 and top-`k` accuracy.
        images: number of evaluated images.
        bad_files: number of unreadable images.
        top1_interval: 95 % confidence interval of top-1 accuracy.
        overall: the metrics of `metric_names.OVERALL`, such as `loss`; None if undefined or not
            computed.
        temperature: divisor of the logits; 1 without calibration.
        tta: kind of test-time augmentation; None for one view.
        tta_is_stored: it is the checkpoint's, not the option's.
        calibration: result of `--calibrate`.
        chosen_by: the metric by which the weights were selected, in words.
        classes: by name, in the model's order.
    """

    top1: float
    topk: float
    k: int
    images: int
    bad_files: int
    top1_interval: tuple[float, float]
    overall: dict[str, float | None]
    temperature: float
    tta: str | None
    tta_is_stored: bool
    calibration: Calibration | None
    chosen_by: str | None
    classes: dict[str, ClassScores]

    @property
    def loss(self) -> float | None:
        return self.overall["loss"]

    @property
    def ece(self) -> float | None:
        return self.overall["ece"]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores for JSON; `calibration` only if requested."""
        document = asdict(self)
        metrics = document.pop("overall")
        classes = {name: as_dict(scores) for name, scores in document.pop("classes").items()}
        del document["tta_is_stored"], document["chosen_by"]
        if self.calibration is None:
            del document["calibration"]
        if self.k > 1:
            document[f"top{self.k}"] = self.topk
        return {"loss": metrics["loss"], **document, **metrics, "classes": classes}

    def as_text(self, width: int | None = None, most: int | None = None) -> str:
        """Return the scores, an empty line, and a table of the classes.

        Args:
            width: columns available; longer names are shortened.
            most: rows of the table; with more classes, those with the lowest F1 are shown. None for
                all.
        """
        low, high = self.top1_interval
        pairs = [
            ("images", f"{self.images:,}"),
            ("bad files", f"{self.bad_files:,}"),
            ("loss", number(self.loss)),
            ("top-1", f"{self.top1:.4f}, with 95 % confidence {low:.4f} to {high:.4f}"),
            (f"top-{self.k}", f"{self.topk:.4f}"),
        ]
        for first, *others in LINES:
            values = (f"{name} {number(self.overall[name])}" for name in others)
            pairs.append((first, ", ".join((number(self.overall[first]), *values))))
        if self.bad_files == 0:
            del pairs[1]
        if self.tta is not None:
            stored = ", from the checkpoint" if self.tta_is_stored else ""
            pairs.append(("tta", f"{self.tta}{stored}"))
        if self.temperature != 1:
            pairs.append(("temperature", f"{self.temperature:.4f}"))
        if self.calibration is not None:
            of = self.calibration
            change = f"loss {of.loss_before:.4f} to {of.loss_after:.4f}"
            change += f", ece {number(of.ece_before)} to {number(of.ece_after)}"
            pairs.append(("calibration", change))
        if self.chosen_by is not None:
            pairs.append(("chosen by", self.chosen_by))
        shown = list(self.classes.items())
        note = ""
        if most is not None and len(shown) > most:
            note = f"the {most} of {len(shown):,} classes with the lowest f1; | cat shows all\n"
            shown = sorted(shown, key=lambda item: item[1].rank)[:most]
        rows = [
            (
                name,
                *map(number, (of.precision, of.recall, of.f1, of.specificity)),
                f"{of.support:,}",
            )
            for name, of in shown
        ]
        header = ("class", "precision", "recall", "f1", "specificity", "support")
        table = format_table(header, rows, "lrrrrr", width=width)
        return format_pairs(pairs) + "\n" + table + note


def score(
    judgement: Judgement,
    bad_files: int,
    k: int,
    *,
    temperature: float = 1.0,
    tta: str | None = None,
    tta_is_stored: bool = False,
    calibration: Calibration | None = None,
    chosen_by: str | None = None,
) -> Scores:
    """Return the scores of at least one image.

    Args:
        judgement: metrics of the evaluation, at that temperature.
        bad_files: number of unreadable images.
        k: the k of `topk`; at most the number of classes.
        temperature, tta, tta_is_stored, calibration, chosen_by: as in `Scores`.
    """
    evaluation = judgement.evaluation
    k = min(k, evaluation.classes)
    return Scores(
        top1=judgement.top_k(1),
        topk=judgement.top_k(k),
        k=k,
        images=len(evaluation.labels),
        bad_files=bad_files,
        top1_interval=wilson_interval(int(evaluation.right.sum()), len(evaluation.labels)),
        overall={name: judgement.value(Metric(name)) for name in OVERALL},
        temperature=temperature,
        tta=tta,
        tta_is_stored=tta_is_stored,
        calibration=calibration,
        chosen_by=chosen_by,
        classes=judgement.by_class,
    )
