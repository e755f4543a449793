"""The names of metrics: in `train.monitor`, `--fail-under`, `metrics.csv` and JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cnn_cli.errors import suggest
from cnn_cli.structs import Struct


class Kind(Struct):
    """What kind of values a metric has.

    Attributes:
        least, most: the range of the values.
        rises: whether larger values are better.
        needs_scores: whether it is computed from all classes' scores of all images.
    """

    least: float = 0.0
    most: float = 1.0
    rises: bool = True
    needs_scores: bool = False


TOP = Kind()
OVERALL = {
    "loss": Kind(most=1e9, rises=False),
    "macro_f1": Kind(),
    "weighted_f1": Kind(),
    "balanced_accuracy": Kind(),
    "kappa": Kind(least=-1.0),
    "mcc": Kind(least=-1.0),
    "auc": Kind(needs_scores=True),
    "average_precision": Kind(needs_scores=True),
    "brier": Kind(most=2.0, rises=False),
    "ece": Kind(rises=False),
}
# With several labels per image there is no confusion matrix and no top-1 accuracy.
OF_ONE_LABEL = ("balanced_accuracy", "kappa", "mcc", "ece")
OF_SEVERAL_LABELS = {"micro_f1": Kind(), "subset_accuracy": Kind()}
PER_CLASS = {name: Kind() for name in ("precision", "recall", "f1", "specificity")}
_NAMED = OVERALL | OF_SEVERAL_LABELS
EXAMPLES = ("top1", "top5", *_NAMED, *(f"{name}:CLASS" for name in PER_CLASS))
ELSEWHERE = {"accuracy": "top1", "acc": "top1", "f1": "macro_f1"}  # names in other programs
VALIDATION = "val_"  # prefix in rows and columns of training metrics
_TOP = re.compile(r"top([1-9]\d{0,5})", re.ASCII)


class Metric(Struct):
    """A metric, identified by its name.

    Attributes:
        name: `top1`, `top5`, or a name from `OVERALL` or `PER_CLASS`.
        of: the class; None for a metric of all images.
    """

    name: str
    of: str | None = None

    @property
    def text(self) -> str:
        """The metric as users type it: `macro_f1`, `recall:cat`."""
        return self.name if self.of is None else f"{self.name}:{self.of}"

    @property
    def column(self) -> str:
        """The key in the rows of a training: `val_macro_f1`."""
        return VALIDATION + self.text

    @property
    def kind(self) -> Kind:
        return _NAMED.get(self.name) or PER_CLASS.get(self.name) or TOP

    @property
    def k(self) -> int | None:
        """The k of a top-k metric."""
        found = _TOP.fullmatch(self.name)
        return int(found[1]) if found else None

    def not_of(self, labels: str) -> str | None:
        """The rule that the metric breaks with these `data.labels`; None if it is defined."""
        if labels == "single" and self.name in OF_SEVERAL_LABELS:
            return f"{self.name} is for data.labels multiple; of one label it is top1"
        if labels == "multiple" and self.name in OF_ONE_LABEL:
            return f"{self.name} is not defined where data.labels is multiple"
        return None

    def is_better(self, value: float, other: float) -> bool:
        return value > other if self.kind.rises else value < other


TOP1 = Metric("top1")
AVERAGE_PRECISION = Metric("average_precision")
SUBSET_ACCURACY = Metric("subset_accuracy")
PATTERN = (  # regular expression of all names, for the JSON Schema
    rf"^({VALIDATION})?(top[1-9][0-9]{{0,5}}|{'|'.join(_NAMED)}|({'|'.join(PER_CLASS)}):[\s\S]+)$"
)


def default_monitor(labels: str) -> Metric:
    """Return the default of `train.monitor` for these `data.labels`."""
    return TOP1 if labels == "single" else AVERAGE_PRECISION


def overall_of(labels: str) -> tuple[str, ...]:
    """Return the names of the metrics of all images for these `data.labels`."""
    if labels == "single":
        return tuple(OVERALL)
    return tuple(name for name in (*OVERALL, *OF_SEVERAL_LABELS) if name not in OF_ONE_LABEL)


def find_metric(text: str) -> Metric | None:
    """Return the metric of that name, or None. A class may have any name."""
    name, colon, of = text.partition(":")
    if colon:
        return Metric(name, of) if name in PER_CLASS and of else None
    return Metric(name) if name in _NAMED or _TOP.fullmatch(name) else None


def nearest(text: str) -> str:
    """Return `suggest` for the name of a metric."""
    name, colon, of = text.partition(":")
    if not colon:
        hint = suggest(name, (*EXAMPLES, *ELSEWHERE))
        for other, ours in ELSEWHERE.items():
            hint = hint.replace(f"'{other}'", f"'{ours}'")
        return hint
    return suggest(text, (f"{each}:{of or 'CLASS'}" for each in PER_CLASS))


def no_such_class(metric: Metric, classes: Sequence[str]) -> str | None:
    """Return the rule that a metric of an unknown class breaks."""
    if metric.of is None or find_class(metric.of, classes) is not None:
        return None
    return f"{metric.name}:CLASS must name a class.{suggest(metric.of, classes)}"


def find_class(name: str, classes: Sequence[str]) -> int | None:
    """Return the index of a class; names are compared in Unicode's composed form (NFC)."""
    if name in classes:
        return classes.index(name)
    forms = [unicodedata.normalize("NFC", each) for each in classes]
    form = unicodedata.normalize("NFC", name)
    return forms.index(form) if form in forms else None
