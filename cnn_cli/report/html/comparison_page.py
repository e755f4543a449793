"""The page that compares several runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli.config import plain_config
from cnn_cli.inference.judging import AnyJudgement
from cnn_cli.inference.metrics import wilson_interval
from cnn_cli.metric_names import Metric
from cnn_cli.nn.memory import parameter_count
from cnn_cli.report.html.elements import bold, paragraph, table
from cnn_cli.report.html.page import Section, page
from cnn_cli.report.html.results import PARTS, epochs_text, judgement_of
from cnn_cli.report.html.subject import Subject
from cnn_cli.report.html.template import Markup
from cnn_cli.report.html.training_curves import curves
from cnn_cli.report.text.numbers import NOT_MEASURED, number, time_text
from cnn_cli.runs.folder import differences, flat

LAYERS = "model.layers"

All = Sequence[tuple[Subject, AnyJudgement | None]]
Images = dict[tuple[str, str, tuple[str, ...]], list[str]]
"""The runs' names by the images that they were measured on: place, part and paths."""

# Metrics of a run by heading, the most important first, by `data.labels`.
SINGLE = {"top-1": "top1", "loss": "loss", "F1": "macro_f1", "AUC": "auc", "ECE": "ece"}
MULTIPLE = {
    "average precision": "average_precision",
    "loss": "loss",
    "F1": "macro_f1",
    "F1 of all labels": "micro_f1",
    "all labels right": "subset_accuracy",
    "AUC": "auc",
}
INTERVAL = "95 % confidence"  # of top-1 accuracy


def comparison_page(subjects: Sequence[Subject]) -> bytes:
    """Return an HTML file that compares runs.

    Args:
        subjects: at least two, with unique names and the same `data.labels`.
    """
    every = [(subject, judgement_of(subject)) for subject in subjects]
    images = _images(every)
    sections = [
        Section("results", "Results", _results(every, images)),
        Section("curves", "Curves", curves(subjects)),
        Section("configs", "Config differences", _configs(subjects)),
    ]
    if any(judgement is not None for _, judgement in every):
        sections.append(Section("classes", "Classes", _classes(every, alike=len(images) == 1)))
    title = f"{len(subjects)} runs side by side"
    return page(title, ", ".join(str(subject.record.path) for subject in subjects), sections)


def _images(every: All) -> Images:
    found: Images = {}
    for subject, judgement in every:
        if judgement is not None and not isinstance(subject.measured, str):
            measured = subject.measured
            key = measured.place, measured.part, measured.seen
            found.setdefault(key, []).append(subject.name)
    return found


def _results(every: All, images: Images) -> list[Markup]:
    single = every[0][0].record.classifier.several is None
    metrics = SINGLE if single else MULTIPLE
    names = [*metrics]
    if single:
        names.insert(1, INTERVAL)
    header = ["run", *names, "images", "epochs", "best epoch", "time", "parameters"]
    caption = "Results of the best weights of each run"
    below = []
    for subject, _ in every:
        if isinstance(subject.measured, str):
            below.append(paragraph(f"{subject.name}: not measured. {subject.measured}"))
        if len(subject.record.classifier.networks) > 1:
            words = "the mean of the probabilities of all its networks"
            below.append(paragraph(f"{subject.name}: {words}."))
    if len(images) > 1:
        below.append(
            paragraph("The runs were measured on different images; compare them with care.")
        )
    for (place, part, seen), runs in images.items():
        who = f"{', '.join(runs)}: measured" if len(images) > 1 else "Measured"
        below.append(paragraph(f"{who} on {len(seen):,} {PARTS[part]} of {place}."))
    rows = [_row(subject, judgement, metrics) for subject, judgement in every]
    if len(images) == 1:
        first = Metric(next(iter(metrics.values())))
        values = [None if of is None else of.value(first) for _, of in every]
        best = max(_known(values), default=None)
        for row, value in zip(rows, values, strict=True):
            row[1] = _bold(row[1], value is not None and value == best)
    return [table(caption, header, rows, "l" + "r" * (len(names) + 1) + "lrrr"), *below]


def _row(subject: Subject, judgement: AnyJudgement | None, metrics: Mapping[str, str]) -> list[str]:
    record, state = subject.record, subject.record.state
    cells = [NOT_MEASURED] * (len(metrics) + 1)
    if judgement is not None:
        cells = [number(judgement.value(Metric(name))) for name in metrics.values()]
        cells.append(f"{len(judgement.evaluation.labels):,}")
    if metrics is SINGLE:
        cells.insert(1, _interval(judgement))
    networks = record.classifier.networks
    return [
        subject.name,
        *cells,
        epochs_text(record),
        NOT_MEASURED if state is None else str(state.best_epoch or NOT_MEASURED),
        NOT_MEASURED if state is None else time_text(state.seconds),
        f"{sum(parameter_count(one.graph) for one in networks):,}",
    ]


def _interval(judgement: AnyJudgement | None) -> str:
    if judgement is None:
        return NOT_MEASURED
    low, high = wilson_interval(int(judgement.right.sum()), len(judgement.right))
    return f"{low:.4f} to {high:.4f}"


def _configs(subjects: Sequence[Subject]) -> list[Markup]:
    """Return the keys that differ between runs; networks that differ are summarized."""
    subjects = [each for each in subjects if len(each.record.classifier.networks) == 1]
    plain = [plain_config(subject.record.config) for subject in subjects]
    keys = dict.fromkeys(key for other in plain[1:] for key in differences(plain[0], other, ()))
    if not keys:
        return [paragraph("The configs are the same.")]
    values: list[dict[str, Any]] = [dict(flat(config)) for config in plain]
    layers = [{key for key in config if key.startswith(LAYERS)} for config in values]
    rows = []
    if any(other != layers[0] for other in layers[1:]):
        keys = dict.fromkeys(key for key in keys if not key.startswith(LAYERS))
        rows.append([LAYERS, *(_made_of(subject) for subject in subjects)])
    rows += [[key, *(_value(config, key) for config in values)] for key in keys]
    header = ["key", *(subject.name for subject in subjects)]
    return [table("Keys whose values differ", header, rows, "l" * len(header))]


def _made_of(subject: Subject) -> str:
    """Return `2 conv, 2 relu, 1 linear`."""
    kinds = Counter(node.layer.kind for node in subject.record.classifier.graph.nodes)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _value(config: Mapping[str, Any], key: str) -> str:
    if key not in config:
        return NOT_MEASURED
    match config[key]:
        case None:
            return "none"
        case bool() as flag:
            return str(flag).lower()
        case value:
            return str(value)


def _classes(every: All, *, alike: bool) -> list[Markup]:
    """Return a table of each class's F1 score in each run, lowest first.

    Args:
        alike: whether the runs were measured on the same images.
    """
    shown = [(subject, of.by_class) for subject, of in every if of is not None]
    found: dict[str, list[float | None]] = {}
    for _, classes in shown:
        for name in classes:
            found.setdefault(name, [])
    for name, values in found.items():
        for _, classes in shown:
            values.append(classes[name].f1 if name in classes else None)
    rows = []
    for name, values in sorted(found.items(), key=lambda item: min(_known(item[1]), default=2.0)):
        best, worst = max(_known(values), default=0.0), min(_known(values), default=0.0)
        cells = [_bold(number(value), alike and value == best != worst) for value in values]
        spread = number(best - worst if len(_known(values)) > 1 else None)
        rows.append([name, *cells, spread])
    header = ["class", *(subject.name for subject, _ in shown), "range"]
    caption = "F1 score of each class, lowest first"
    caption += "; the best in each row is bold" if alike else ", on different images"
    return [table(caption, header, rows, "l" + "r" * (len(header) - 1))]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _bold(text: str, best: bool) -> str:
    return bold(text) if best else text
