"""`--not-worse-than`: evaluate another model on the same images, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.gates import TOPK, Gate
from cnn_cli.errors import DataError, GateError
from cnn_cli.metric_names import Metric, find_class

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.data.image_error import ImageError
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.comparing import Comparison
    from cnn_cli.inference.evaluate_files import EvaluationOptions
    from cnn_cli.inference.judging import AnyJudgement

    Bad = dict[int, ImageError]

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
    images: int  # that both models can read

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
        from cnn_cli.inference.ensemble import class_of_one
        from cnn_cli.inference.opening import open_classifier

        self.model = open_classifier([self.path], tta)
        if self.model.labels_kind != new.labels_kind:
            rule = f"must be of data.labels {new.labels_kind}, as --ckpt is"
            raise DataError(self.path, rule, self.model.labels_kind)
        if (single := class_of_one(self.model, new)) is not None:
            raise DataError(self.path, "must have the classes of --ckpt", single)

    def evaluate(
        self, images: Split, new: Classifier, options: EvaluationOptions, bad: Bad
    ) -> None:
        """Evaluate it on the images of the new model; report those that only it cannot read.

        Args:
            images, options: as in `evaluate_files`.
            new: the new model.
            bad: what that cannot read, which has been reported already.

        Raises:
            DataError: there is no image that both can read.
        """
        import numpy as np

        from cnn_cli.data.dataset import Split
        from cnn_cli.data.targets import renumbered
        from cnn_cli.inference.evaluate_files import evaluate_files
        from cnn_cli.inference.judging import judge

        # The same classes may have other numbers.
        numbers = np.array([find_class(name, self.model.classes) for name in new.classes], np.int64)
        own = Split(images.paths, renumbered(images.labels, numbers))
        evaluation, found = evaluate_files(self.model, own, options)
        if options.job.rank == 0:
            self._tell(bad, found, len(images))
        places = [find_class(name, new.classes) for name in self.model.classes]
        # Spelled as in the new model.
        names = [new.classes[place] for place in places if place is not None]
        self.judgement = judge(evaluation, names, self.model.thresholds)

    def _tell(self, bad: Bad, own: Bad, images: int) -> None:
        """Report the images that only this model cannot read, and count the others.

        Raises:
            DataError: there are no others.
        """
        only = [error for i, error in own.items() if i not in bad]
        read = images - len(bad)
        self.images = read - len(only)
        for error in only:
            output.say(f"cnn: {error.line()}")
        if not self.images:
            rule = "must be able to read an image that --ckpt can read"
            raise DataError(self.path, rule, f"none of {read:,}")
        if only:
            which = f"the {self.images:,} of {read:,} images that it can read, too"
            output.say(f"cnn: {self.path}: is compared on {which}")

    def compare(self, new: AnyJudgement, gates: Sequence[Gate], k: int) -> list[Comparison]:
        """Compare the default metric, such as top1, and the requested ones."""
        from cnn_cli.inference.comparing import compare

        metrics = [gate_metric(one, k) for one in gates]
        return compare(new, self.judgement, metrics, self.alpha)

    def as_dict(self, found: Sequence[Comparison]) -> dict[str, Any]:
        """Return the comparison for JSON."""
        from cnn_cli.report.text.compared import comparison_dict

        return {"not_worse_than": comparison_dict(found, str(self.path), self.alpha, self.images)}

    def lines(self, found: Sequence[Comparison]) -> str:
        from cnn_cli.report.text.compared import comparison_line

        return "".join(f"{comparison_line(one, str(self.path), self.alpha)}\n" for one in found)

    def check(self, found: Sequence[Comparison]) -> None:
        """Raise if the new model is worse, or a metric is undefined for one of the two.

        Raises:
            GateError: it is.
        """
        for one in found:
            if one.worse is not False:
                rule = f"{one.metric} must not be worse than that of {self.path}"
                raise GateError(OPTION, rule, self.lines([one]).rstrip())
