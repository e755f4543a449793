"""The page of several runs, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_cli.config import plain_config
from cnn_cli.nn.memory import parameter_count
from cnn_cli.report.html.elements import bold, paragraph, table
from cnn_cli.report.html.page import Section, page
from cnn_cli.report.html.results import PARTS, epochs_text, judgement_of, scores_of
from cnn_cli.report.html.subject import Subject
from cnn_cli.report.html.template import Markup
from cnn_cli.report.html.training_curves import curves
from cnn_cli.report.text.numbers import NOT_MEASURED, number, time_text
from cnn_cli.report.text.scores import Scores
from cnn_cli.runs.folder import differences, flat

LAYERS = "model.layers"

All = Sequence[tuple[Subject, Scores | None]]


def comparison_page(subjects: Sequence[Subject]) -> bytes:
    """An HTML file with what differs between runs.

    Args:
        subjects: two at least, their names their own.
    """
    every = [(subject, scores_of(subject, judgement_of(subject))) for subject in subjects]
    sections = [
        Section("results", "Results", _results(every)),
        Section("curves", "Curves", curves(subjects)),
        Section("configs", "Config differences", _configs(subjects)),
    ]
    if any(scores is not None for _, scores in every):
        sections.append(Section("classes", "Classes", _classes(every)))
    title = f"{len(subjects)} runs side by side"
    return page(title, ", ".join(str(subject.record.path) for subject in subjects), sections)


def _results(every: All) -> list[Markup]:
    header = ["run", "top-1", "95 % confidence", "loss", "F1", "AUC", "ECE", "images"]
    header += ["epochs", "best epoch", "time", "parameters"]
    caption = "Results of the best weights of each run"
    places: dict[tuple[str, str, int], None] = {}
    below = []
    for subject, scores in every:
        measured = subject.measured
        if isinstance(measured, str):
            below.append(paragraph(f"{subject.name}: not measured. {measured}"))
        elif scores is not None:
            places[measured.place, measured.part, scores.images] = None
    if len(places) > 1:
        below.append(
            paragraph("The runs were measured on different images; compare them with care.")
        )
    for place, part, images in places:
        below.append(paragraph(f"Measured on {images:,} {PARTS[part]} of {place}."))
    best = max((scores.top1 for _, scores in every if scores is not None), default=None)
    rows = [_row(*one, best if len(places) == 1 else None) for one in every]
    return [table(caption, header, rows, "lrrrrrrrlrrr"), *below]


def _row(subject: Subject, scores: Scores | None, best: float | None) -> list[str]:
    record, state = subject.record, subject.record.state
    cells: list[str] = [NOT_MEASURED] * 7
    if scores is not None:
        low, high = scores.top1_interval
        cells = [
            _bold(f"{scores.top1:.4f}", scores.top1 == best),
            f"{low:.4f} to {high:.4f}",
            *map(number, (scores.overall[name] for name in ("loss", "macro_f1", "auc", "ece"))),
            f"{scores.images:,}",
        ]
    return [
        subject.name,
        *cells,
        epochs_text(record),
        NOT_MEASURED if state is None else str(state.best_epoch or NOT_MEASURED),
        NOT_MEASURED if state is None else time_text(state.seconds),
        f"{parameter_count(record.classifier.graph):,}",
    ]


def _configs(subjects: Sequence[Subject]) -> list[Markup]:
    """The keys that are not the same in all; of other networks what they are made of."""
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
    """`2 conv, 2 relu, 1 linear`."""
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


def _classes(every: All) -> list[Markup]:
    """The F1 score of each class in each run, the hardest first."""
    shown = [(subject, scores) for subject, scores in every if scores is not None]
    found: dict[str, list[float | None]] = {}
    for _, scores in shown:
        for name in scores.classes:
            found.setdefault(name, [])
    for name, values in found.items():
        for _, scores in shown:
            values.append(scores.classes[name].f1 if name in scores.classes else None)
    rows = []
    for name, values in sorted(found.items(), key=lambda item: min(_known(item[1]), default=2.0)):
        best, worst = max(_known(values), default=0.0), min(_known(values), default=0.0)
        cells = [_bold(number(value), value == best != worst) for value in values]
        spread = number(best - worst if len(_known(values)) > 1 else None)
        rows.append([name, *cells, spread])
    header = ["class", *(subject.name for subject, _ in shown), "range"]
    caption = "F1 score of each class, lowest first; the best in each row is bold"
    return [table(caption, header, rows, "l" + "r" * (len(header) - 1))]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _bold(text: str, best: bool) -> str:
    return bold(text) if best else text
