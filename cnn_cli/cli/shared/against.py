"""`--not-worse-than`: another model on the same images, and whether the new one is worse."""

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
    """What a gate is about; `topk` is the one that was printed."""
    return Metric(f"top{k}") if gate.metric.name == TOPK else gate.metric


class Against:
    """The model of `--not-worse-than`.

    Args:
        path: its checkpoint.
        alpha: the chance of calling a model worse that is equally good.
    """

    model: Classifier
    judgement: AnyJudgement

    def __init__(self, path: Path, alpha: float | None) -> None:
        self.path = path
        self.alpha = ALPHA if alpha is None else alpha

    def load(self, new: Classifier) -> None:
        """Read it.

        Raises:
            DataError: it cannot be read, has other classes than the new one, or gives one label
                where that gives several.
        """
        from cnn_cli.inference.classifier import open_classifier

        self.model = open_classifier([self.path])
        if self.model.labels_kind != new.labels_kind:
            rule = f"must be of data.labels {new.labels_kind}, as --ckpt is"
            raise DataError(self.path, rule, self.model.labels_kind)
        for one, than in ((self.model, new), (new, self.model)):
            for name in one.classes:
                if find_class(name, than.classes) is None:
                    rule = "must have the classes of --ckpt"
                    raise DataError(self.path, rule, f"'{name}' in {one.path} only")

    def evaluate(self, images: Split, new: Classifier, options: EvaluationOptions) -> None:
        """Show it the images that the new one has seen; what cannot be read has been named."""
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
        names = [new.classes[place] for place in places if place is not None]  # as new writes them
        self.judgement = judge(evaluation, names, self.model.thresholds)

    def compare(self, new: AnyJudgement, gates: Sequence[Gate], k: int) -> list[Comparison]:
        """In what training follows by itself, such as top1, and in what is asked for besides."""
        from cnn_cli.inference.comparing import compare

        metrics = [gate_metric(one, k) for one in gates]
        return compare(new, self.judgement, metrics, self.alpha)

    def as_dict(self, found: Sequence[Comparison]) -> dict[str, Any]:
        """For JSON."""
        from cnn_cli.report.text.compared import comparison_dict

        return {"not_worse_than": comparison_dict(found, str(self.path), self.alpha)}

    def lines(self, found: Sequence[Comparison]) -> str:
        from cnn_cli.report.text.compared import comparison_line

        return "".join(f"{comparison_line(one, str(self.path), self.alpha)}\n" for one in found)

    def check(self, found: Sequence[Comparison]) -> None:
        """End the command where the new model is worse.

        Raises:
            GateError: it is.
        """
        for one in found:
            if one.worse:
                rule = f"{one.metric} must not be worse than that of {self.path}"
                raise GateError(OPTION, rule, self.lines([one]).rstrip())
