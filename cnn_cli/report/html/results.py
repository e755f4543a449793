"""The results on the page: overall scores, per-class scores and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnn_cli.errors import size_text
from cnn_cli.inference.judging import AnyJudgement, Judgement, judge
from cnn_cli.inference.metrics import ECE_BINS, calibration_bins
from cnn_cli.nn.memory import parameter_count
from cnn_cli.report.html.charts import reliability_chart
from cnn_cli.report.html.elements import figure, pairs, paragraph, table
from cnn_cli.report.html.subject import Measured, MeasuredLabels, Record, Subject
from cnn_cli.report.html.template import Markup, Templates
from cnn_cli.report.text.numbers import NOT_MEASURED, number, time_text
from cnn_cli.report.text.scores import LINES, Scores, score
from cnn_cli.report.text.training_result import best_text

TOP = 5
WRITTEN = {
    "python": "Python",
    "numpy": "NumPy",
    "pillow": "Pillow",
    "numba": "Numba",
    "system": "System",
}
PARTS = {
    "train": "training images",
    "val": "validation images",
    "test": "test images",
    "all": "images",
}

METRICS = {
    "macro_f1": "F1, mean of classes",
    "weighted_f1": "F1, by images",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Cohen's kappa",
    "mcc": "Matthews' coefficient",
    "auc": "ROC AUC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}

_RESULTS = Templates("results.html")


def judgement_of(subject: Subject) -> AnyJudgement | None:
    """Return the metrics of a run; None if nothing was evaluated."""
    measured, classifier = subject.measured, subject.record.classifier
    if isinstance(measured, str):
        return None
    return judge(measured.evaluation, classifier.classes, classifier.thresholds)


def scores_of(subject: Subject, judgement: AnyJudgement | None) -> Scores | None:
    """Return the scores of a run; None if nothing was evaluated, or with several labels per
    image.
    """
    measured = subject.measured
    if not isinstance(judgement, Judgement) or not isinstance(measured, Measured):
        return None
    temperature = subject.record.classifier.temperature
    return score(judgement, len(measured.bad), TOP, temperature=temperature)


def result(subject: Subject, scores: Scores | None) -> list[Markup]:
    """Return the scores, the images used, and the duration of training."""
    parts = []
    measured = subject.measured
    if isinstance(measured, str):
        parts.append(paragraph(f"Not measured. {measured}"))
    elif scores is not None:
        low, high = scores.top1_interval
        rows = [
            ("Top-1", large(f"{scores.top1:.4f}", f"95 % confidence: {low:.4f} to {high:.4f}")),
            (f"Top-{scores.k}", f"{scores.topk:.4f}"),
            ("Loss", number(scores.loss)),
            *(
                (METRICS[name], number(scores.overall[name]))
                for name in (name for line in LINES for name in line)
            ),
        ]
        if scores.k == len(scores.classes):
            del rows[1]  # always 1
        parts += [
            scores_block(rows),
            paragraph(where(subject.record, measured, scores.images)),
        ]
    parts.append(pairs(training_pairs(subject.record)))
    return parts


def training_pairs(record: Record) -> list[tuple[str, str]]:
    """Return the progress of the training, and its dates."""
    state = record.state
    parameters = f"{parameter_count(record.classifier.graph):,}"
    if state is None:
        return [("Training", "none: the weights come from elsewhere"), ("Parameters", parameters)]
    found = [("Epochs", epochs_text(record))]
    if state.best is not None:
        train = record.config.train
        word = "Kept" if train.keeps_last else "Best"
        found.append((word, best_text(state.best, train.monitored, last=train.keeps_last)))
    found += [("Parameters", parameters), ("Time", time_text(state.seconds))]
    times = [event["time"] for event in state.log if isinstance(event.get("time"), str)]
    if times:
        found += [("Started", moment(times[0])), ("Last saved", moment(times[-1]))]
    return found


def moment(stamp: str) -> str:
    """Return `2026-05-01 12:30:00 UTC` for `2026-05-01T12:30:00Z`: narrow pages break it well."""
    return stamp.replace("T", " ").replace("Z", " UTC")


def epochs_text(record: Record) -> str:
    """Return `3 of 12, unfinished`; a checkpoint alone does not tell whether the run continued."""
    state = record.state
    if state is None:
        return NOT_MEASURED
    epochs = record.config.train.epochs
    if state.early_stopped:
        return f"{state.epoch} of {epochs}, stopped early"
    unfinished = record.path.is_dir() and not state.finished(epochs)
    return f"{state.epoch} of {epochs}" + ", unfinished" * unfinished


def per_class_table(scores: Scores, judgement: Judgement) -> Markup:
    """Return a table of all classes, lowest F1 first."""
    rankings = dict(zip(judgement.classes, judgement.rankings, strict=True))
    rows = [
        [
            name,
            number(of.precision),
            number(of.recall),
            NOT_MEASURED if of.f1 is None else share(of.f1),
            number(of.specificity),
            *map(number, rankings[name] or (None, None)),
            f"{of.support:,}",
        ]
        for name, of in sorted(scores.classes.items(), key=lambda item: item[1].rank)
    ]
    header = ["class", "precision", "recall", "F1", "specificity", "AUC", "AP", "images"]
    caption = "Classes, lowest F1 score first"
    return table(caption, header, rows, "l" + "r" * (len(header) - 1))


def calibration_parts(measured: Measured, scores: Scores, *, calibrated: bool) -> list[Markup]:
    """Return the calibration: accuracy compared with confidence.

    Args:
        measured, scores: of the images.
        calibrated: whether the checkpoint's temperature was fitted.
    """
    evaluation = measured.evaluation
    images, sums, right = calibration_bins(evaluation.confidences, evaluation.right)
    bins: list[tuple[int, float | None, float | None]] = [
        (int(n), float(sums[i] / n), float(right[i] / n)) if n else (0, None, None)
        for i, n in enumerate(images)
    ]
    description = (
        "Bars: accuracy of the images with that confidence. Strokes: their mean confidence. "
        f"Expected calibration error {number(scores.ece)}."
    )
    chart = reliability_chart("chart-calibration", "Accuracy by confidence", description, bins)
    rows = [
        [
            f"{i / ECE_BINS:.3f} to {(i + 1) / ECE_BINS:.3f}",
            f"{n:,}",
            number(confidence),
            number(accuracy),
        ]
        for i, (n, confidence, accuracy) in enumerate(bins)
    ]
    header = ["confidence", "images", "mean confidence", "accuracy"]
    numbers = table("Images by the confidence of the predicted class", header, rows, "lrrr")
    given, end = (
        (f"Scores are divided by the temperature {scores.temperature:.4f}, found by ", ".")
        if calibrated
        else ("The temperature is 1: ", " has not been run.")
    )
    words = _RESULTS.fill("calibration", error=number(scores.ece), temperature=given, end=end)
    return [words, figure("Accuracy by confidence", chart, numbers)]


def scores_block(rows: Sequence[tuple[str, str | Markup]]) -> Markup:
    """Return a list of scores."""
    return _RESULTS.fill("scores", pairs=pairs(rows))


def where(record: Record, measured: Measured | MeasuredLabels, images: int) -> str:
    """Describe the images and weights of the scores."""
    text = f"On {images:,} {PARTS[measured.part]} of {measured.place}"
    if measured.bad:
        text += f"; {len(measured.bad):,} more could not be read"
    tta = record.classifier.tta_text
    views = "" if tta is None else f" Test-time augmentation: {tta}."
    return f"{text}. Weights: {record.classifier.path.name}.{views}"


def large(text: str, below: str) -> Markup:
    """Return the headline score with a line below."""
    return _RESULTS.fill("score", text=text, below=below)


def share(value: float) -> Markup:
    """Return a number with a bar of that length."""
    return _RESULTS.fill("bar", width=f"{value:.1%}", text=f"{value:.4f}")


def versions_pairs(versions: dict[str, str]) -> list[tuple[str, str]]:
    """Return display names and versions of packages."""
    return [(WRITTEN.get(name, name), version) for name, version in versions.items()]


def network_pairs(record: Record) -> list[tuple[str, str]]:
    """Return the settings of the network's training."""
    meta: dict[str, Any] = record.meta
    config = record.config
    counts = meta.get("data", {})
    found = [
        ("cnn", str(meta.get("program_version", "not known"))),
        *versions_pairs(meta.get("versions", {})),
        ("Backend", str(meta.get("backend", "not known"))),
        ("Threads", str(meta.get("threads", "not known"))),
        ("Seed", str(config.train.seed)),
        ("Data type", config.train.dtype),
    ]
    for part in ("train", "val"):
        if isinstance(counts.get(part), int):
            found.append((PARTS[part].capitalize(), f"{counts[part]:,}"))
    bad = meta.get("bad_files", {})
    if bad:
        found.append(("Images left out", f"{len(bad):,}, which could not be read"))
    size = record.classifier.path.stat().st_size
    return [*found, ("Checkpoint", f"{record.classifier.path}, {size_text(size)}")]
