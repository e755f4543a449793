"""The training curves: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from cnn_cli.report.html.charts import COLORS, Line, line_chart
from cnn_cli.report.html.elements import figure, paragraph, side_by_side, table
from cnn_cli.report.html.subject import Subject
from cnn_cli.report.html.template import Markup
from cnn_cli.report.text.numbers import number

CHARTS = (
    ("loss", "Loss", ("train_loss", "val_loss")),
    ("top1", "Top-1", ("train_top1", "val_top1")),
    ("lr", "Learning rate", ("lr",)),
)
WORDS = {"train": "training", "val": "validation", "lr": "learning rate"}
MOST_PAIRS = 4  # runs for which both training and validation are drawn


def curves(subjects: Sequence[Subject]) -> list[Markup]:
    """Return the charts with tables of their numbers; several runs share each chart."""
    figures = []
    for ident, title, columns in CHARTS:
        lines = _lines(subjects, columns)
        if lines:
            chart = line_chart(
                f"chart-{ident}",
                f"{title} over the epochs",
                _words(lines),
                lines,
                may_log=ident == "loss",
                mark=_best(subjects),
                mark_below=ident == "top1",
            )
            numbers = _numbers(f"{title} by epoch", columns, lines)
            figures.append(figure(title, chart, numbers))
    if not figures:
        return [paragraph("No epoch was trained.")]
    return [side_by_side(figures)]


def _lines(subjects: Sequence[Subject], columns: Sequence[str]) -> list[Line]:
    """Return the lines: for one run, training and validation differ in color; for several, the runs
    do.

    For many runs, training is left out if validation was measured.
    """
    found = []
    for which, subject in enumerate(subjects):
        state = subject.record.state
        rows = [] if state is None else state.rows
        known = [column for column in columns if any(_is_known(row[column]) for row in rows)]
        for column in known[-1:] if len(subjects) > MOST_PAIRS else known:
            points = [
                (float(row["epoch"]), row[column] if _is_known(row[column]) else None)
                for row in rows
            ]
            i = columns.index(column)
            if len(subjects) == 1:
                found.append(Line(_word(column), points, i))
                continue
            name = subject.name if column == "lr" else f"{subject.name}, {_word(column)}"
            # Validation, which compares runs, is drawn solid.
            dash = len(columns) - 1 - i or 2 * (which >= COLORS)
            found.append(Line(name, points, which, dash))
    return found


def _is_known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _word(column: str) -> str:
    return WORDS[column.partition("_")[0]]


def _best(subjects: Sequence[Subject]) -> tuple[float, str] | None:
    record = subjects[0].record
    state = record.state
    if len(subjects) > 1 or state is None or state.best_epoch is None:
        return None
    if record.config.train.keeps_last:
        return None
    return float(state.best_epoch), f"best: epoch {state.best_epoch}"


def _words(lines: Sequence[Line]) -> str:
    """Describe the curves in words."""
    parts = []
    for line in lines:
        (first, start), (last, end) = line.points[0], line.points[-1]
        parts.append(
            f"{line.name}: {_short(start)} in epoch {first:g}, {_short(end)} in epoch {last:g}."
        )
    return " ".join(parts)


def _short(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _numbers(caption: str, columns: Sequence[str], lines: Sequence[Line]) -> Markup:
    epochs = sorted({x for line in lines for x, _ in line.points})
    found = [dict(line.points) for line in lines]
    digits = ".3g" if columns == ("lr",) else ".4f"
    rows = [
        [f"{epoch:g}", *(number(values.get(epoch), digits) for values in found)] for epoch in epochs
    ]
    header = ["epoch", *(line.name for line in lines)]
    return table(caption, header, rows, "r" * len(header))
