"""The scores of an evaluation, as text and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cnn_cli.inference.calibration import Calibration
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.metrics import ClassScores, wilson_interval
from cnn_cli.metric_names import OVERALL, Metric
from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.structs import as_dict

T = TypeVar("T")

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
        pairs += metric_lines(LINES, self.overall)
        if self.bad_files == 0:
            del pairs[1]
        pairs += how_scored(self.tta, self.tta_is_stored, self.temperature)
        if self.calibration is not None:
            of = self.calibration
            change = f"loss {of.loss_before:.4f} to {of.loss_after:.4f}"
            change += f", ece {number(of.ece_before)} to {number(of.ece_after)}"
            pairs.append(("calibration", change))
        if self.chosen_by is not None:
            pairs.append(("chosen by", self.chosen_by))
        shown, note = worst_classes(list(self.classes.items()), most, lambda item: item[1].rank)
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


def metric_lines(
    lines: Iterable[Sequence[str]], overall: Mapping[str, float | None]
) -> Iterator[tuple[str, str]]:
    """Yield names and values of metrics, several on a line, which has the first one's name."""
    for first, *others in lines:
        values = (f"{name} {number(overall[name])}" for name in others)
        yield first, ", ".join((number(overall[first]), *values))


def how_scored(
    tta: str | None, tta_is_stored: bool, temperature: float
) -> Iterator[tuple[str, str]]:
    """Yield what changes the scores: views of the images, and a temperature."""
    if tta is not None:
        yield "tta", f"{tta}{', from the checkpoint' if tta_is_stored else ''}"
    if temperature != 1:
        yield "temperature", f"{temperature:.4f}"


def worst_classes(
    classes: list[T], most: int | None, rank: Callable[[T], Any]
) -> tuple[list[T], str]:
    """Return the classes for a table of at most that many rows, and a note if some are left out.

    Args:
        classes: all of them, in the model's order.
        most: None for all.
        rank: the sort key, lowest F1 first.
    """
    if most is None or len(classes) <= most:
        return classes, ""
    note = f"the {most} of {len(classes):,} classes with the lowest f1; | cat shows all\n"
    return sorted(classes, key=rank)[:most], note


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
