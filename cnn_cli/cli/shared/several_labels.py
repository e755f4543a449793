"""`cnn eval` of a checkpoint that gives images several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.gates import NOT_DEFINED, OPTION, TOPK, Gate, check_classes
from cnn_cli.cli.shared.labelled import evaluate_several_labels
from cnn_cli.errors import UsageError
from cnn_cli.metric_names import Metric
from cnn_cli.parallel.ranks import Ranks

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.several_labels import LabelsJudgement


def check_one_label(classifier: Classifier, options: Mapping[str, object]) -> None:
    """Refuse options that are of images of one label.

    Args:
        options: what each is given; None or false is nothing.

    Raises:
        UsageError: one is, and the checkpoint gives several labels.
    """
    if classifier.several is None:
        return
    for option, given in options.items():
        if given is not None and given is not False:
            rule = "is not available yet for checkpoints of data.labels multiple"
            raise UsageError(option, rule, str(classifier.path))


def check_gates(gates: Sequence[Gate], classifier: Classifier) -> None:
    """Refuse metrics that its `data.labels` do not have, and classes that it does not know.

    Raises:
        UsageError: one is asked for.
    """
    labels = "single" if classifier.several is None else "multiple"
    check_classes(gates, classifier.classes)
    for one in gates:
        if rule := one.metric.not_of(labels):
            raise UsageError(OPTION, rule)


def evaluate_several(
    classifier: Classifier,
    images: Split,
    place: object,
    batch_size: int,
    threads: int | None,
    backend: str | None,
    tta: str | None,
    job: Ranks,
    predictions: Path | None,
    topk: int,
    gates: Sequence[Gate],
    chosen_by: str | None,
    room: tuple[int | None, int | None],
    *,
    json: bool,
) -> None:
    """Show it the images, write the predictions, print the scores, and keep the gates.

    Args:
        classifier, images, place, batch_size, threads, backend, tta, job: of `evaluate_images`.
        predictions: a CSV file to write.
        topk: how many guesses count.
        gates: metrics with their bounds.
        chosen_by, room: of `LabelScores`.
        json: print JSON.

    Raises:
        CnnError: no image could be read, or a gate is not kept.
    """
    from cnn_cli.files import write_atomic
    from cnn_cli.inference.several_labels import LabelsJudgement
    from cnn_cli.report.text.label_scores import LabelScores, label_predictions_csv

    several = classifier.several
    if several is None:
        raise ValueError("a checkpoint of one label")
    evaluation, bad = evaluate_several_labels(
        classifier, images, place, batch_size, threads, backend, tta, job
    )
    if job.rank:
        return
    if predictions is not None:
        problems = {i: bad[i].message for i in bad}
        contents = label_predictions_csv(
            classifier.classes, images.paths, images.labels, evaluation, problems, several
        )
        write_atomic(predictions, contents)
    judgement = LabelsJudgement(evaluation, classifier.classes, several.thresholds)
    k = min(topk, evaluation.classes)
    scores = LabelScores(judgement, k, len(bad), tta, chosen_by)
    if json:
        output.write_json(scores.as_dict())
    else:
        output.write(scores.as_text(*room))
    for one in gates:
        one.check(_value(judgement, one.metric, k), NOT_DEFINED)


def _value(judgement: LabelsJudgement, metric: Metric, k: int) -> float | None:
    return judgement.value(Metric(f"top{k}") if metric.name == TOPK else metric)
