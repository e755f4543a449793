"""How the training went: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from cnn_cli.report.html.charts import COLOURS, Line, line_chart
from cnn_cli.report.html.markup import Markup, details, element, figure, paragraph, table
from cnn_cli.report.record import Subject

CHARTS = (
    ("loss", "Loss", ("train_loss", "val_loss")),
    ("top1", "Top-1", ("train_top1", "val_top1")),
    ("lr", "Learning rate", ("lr",)),
)
WORDS = {"train": "training", "val": "validation", "lr": "learning rate"}
NOT_MEASURED = "–"


def curves(subjects: Sequence[Subject]) -> list[Markup]:
    """A chart each, with its numbers in a table; runs are laid over each other."""
    shown = [one for one in subjects if rows_of(one)]
    if not shown:
        return [paragraph("No epoch was trained.")]
    figures = []
    for ident, title, columns in CHARTS:
        lines = [
            line
            for number, subject in enumerate(subjects)
            for line in _lines(subject, columns, number, alone=len(subjects) == 1)
        ]
        if not lines:
            continue
        words = _words(shown, columns)
        chart = line_chart(
            f"chart-{ident}",
            f"{title} over the epochs",
            words,
            lines,
            may_log=ident == "loss",
            mark=_best(subjects),
            mark_below=ident == "top1",
        )
        numbers = _numbers(f"{title} by epoch", shown, columns, lines)
        figures.append(figure(title, chart, details("As a table", numbers)))
    return [element("div", *figures, class_="charts")]


def rows_of(subject: Subject) -> list[dict[str, Any]]:
    state = subject.record.state
    return [] if state is None else state.rows


def number(value: float | None, digits: int = 4) -> str:
    """A number, or a dash where it was not measured."""
    if value is None or not isfinite(value):
        return NOT_MEASURED
    return f"{value:.{digits}f}"


def _lines(subject: Subject, columns: Sequence[str], which: int, *, alone: bool) -> list[Line]:
    """Of one run, training and validation differ in colour; of several, the runs do."""
    found = []
    for i, column in enumerate(columns):
        points = [(float(row["epoch"]), _finite(row[column])) for row in rows_of(subject)]
        if all(y is None for _, y in points):
            continue
        word = _word(column)
        if alone:
            found.append(Line(word, points, i))
        else:
            name = subject.name if len(columns) == 1 else f"{subject.name}, {word}"
            # Validation is what runs are compared by: the whole line is its own.
            dash = len(columns) - 1 - i if which < COLOURS else 2
            found.append(Line(name, points, which, dash))
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else value


def _word(column: str) -> str:
    return WORDS[column.partition("_")[0]]


def _best(subjects: Sequence[Subject]) -> tuple[float, str] | None:
    state = subjects[0].record.state
    if len(subjects) > 1 or state is None or state.best_epoch is None:
        return None
    return float(state.best_epoch), f"best: epoch {state.best_epoch}"


def _words(subjects: Sequence[Subject], columns: Sequence[str]) -> str:
    """What a curve says, in words."""
    parts = []
    for subject in subjects:
        rows = rows_of(subject)
        for column in columns:
            first, last = rows[0][column], rows[-1][column]
            name = _word(column) if len(subjects) == 1 else f"{subject.name}, {_word(column)}"
            parts.append(
                f"{name}: {_short(first)} in epoch {rows[0]['epoch']}, "
                f"{_short(last)} in epoch {rows[-1]['epoch']}."
            )
    return " ".join(parts)


def _short(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _numbers(
    caption: str, subjects: Sequence[Subject], columns: Sequence[str], lines: Sequence[Line]
) -> Markup:
    epochs = sorted({int(x) for line in lines for x, _ in line.points})
    found = [dict(line.points) for line in lines]
    digits = ".3g" if columns == ("lr",) else ".4f"
    rows = [
        [str(epoch), *(_cell(values.get(float(epoch)), digits) for values in found)]
        for epoch in epochs
    ]
    header = ["epoch", *(line.name for line in lines)]
    return table(caption, header, rows, "r" * len(header))


def _cell(value: float | None, digits: str) -> str:
    return NOT_MEASURED if value is None else format(value, digits)
