"""`--not-worse-than`: evaluate another model on the same images, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_cli.cli.shared.gates import TOPK, Gate
from cnn_cli.errors import DataError, GateError
from cnn_cli.metric_names import Metric, find_class

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.comparing import Comparison
    from cnn_cli.inference.evaluate_files import EvaluationOptions
    from cnn_cli.inference.judging import AnyJudgement

OPTION = "--not-worse-than"
ALPHA = 0.05


def gate_metric(gate: Gate, k: int) -> Metric:
    """Return the metric of a gate; `topk` has the printed k."""
    return Metric(f"top{k}") if gate.metric.name == TOPK else gate.metric


class Against:
    """The model of `--not-worse-than`.

    Args:
        path: its checkpoint.
        alpha: significance level: the probability of calling an equally good model worse.
    """

    model: Classifier
    judgement: AnyJudgement

    def __init__(self, path: Path, alpha: float | None) -> None:
        self.path = path
        self.alpha = ALPHA if alpha is None else alpha

    def load(self, new: Classifier, tta: str | None = None) -> None:
        """Read the model.

        Args:
            new: the new model.
            tta: as in `open_classifier`.

        Raises:
            DataError: it cannot be read, differs in classes from the new model, or assigns one
                label where that assigns several.
        """
        from cnn_cli.inference.classifier import open_classifier

        self.model = open_classifier([self.path], tta)
        if self.model.labels_kind != new.labels_kind:
            rule = f"must be of data.labels {new.labels_kind}, as --ckpt is"
            raise DataError(self.path, rule, self.model.labels_kind)
        for one, than in ((self.model, new), (new, self.model)):
            for name in one.classes:
                if find_class(name, than.classes) is None:
                    rule = "must have the classes of --ckpt"
                    raise DataError(self.path, rule, f"'{name}' in {one.path} only")

    def evaluate(self, images: Split, new: Classifier, options: EvaluationOptions) -> None:
        """Evaluate it on the images of the new model; unreadable ones have been reported
        already.
        """
        import numpy as np

        from cnn_cli.data.dataset import Split
        from cnn_cli.data.targets import renumbered
        from cnn_cli.inference.evaluate_files import evaluate_files
        from cnn_cli.inference.judging import judge

        # The same classes may have other numbers.
        numbers = np.array([find_class(name, self.model.classes) for name in new.classes], np.int64)
        own = Split(images.paths, renumbered(images.labels, numbers))
        evaluation, _ = evaluate_files(self.model, own, options)
        places = [find_class(name, new.classes) for name in self.model.classes]
        # Spelled as in the new model.
        names = [new.classes[place] for place in places if place is not None]
        self.judgement = judge(evaluation, names, self.model.thresholds)

    def compare(self, new: AnyJudgement, gates: Sequence[Gate], k: int) -> list[Comparison]:
        """Compare the default metric, such as top1, and the requested ones."""
        from cnn_cli.inference.comparing import compare

        metrics = [gate_metric(one, k) for one in gates]
        return compare(new, self.judgement, metrics, self.alpha)

    def as_dict(self, found: Sequence[Comparison]) -> dict[str, Any]:
        """Return the comparison for JSON."""
        from cnn_cli.report.text.compared import comparison_dict

        return {"not_worse_than": comparison_dict(found, str(self.path), self.alpha)}

    def lines(self, found: Sequence[Comparison]) -> str:
        from cnn_cli.report.text.compared import comparison_line

        return "".join(f"{comparison_line(one, str(self.path), self.alpha)}\n" for one in found)

    def check(self, found: Sequence[Comparison]) -> None:
        """Raise if the new model is worse.

        Raises:
            GateError: it is.
        """
        for one in found:
            if one.worse:
                rule = f"{one.metric} must not be worse than that of {self.path}"
                raise GateError(OPTION, rule, self.lines([one]).rstrip())
