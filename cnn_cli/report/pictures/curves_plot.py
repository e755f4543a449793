"""Training curves as a plot: loss and accuracy by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

from cnn_cli.report.pictures.confusion_plot import DPI, FAINT, INK
from cnn_cli.report.pictures.matplotlib_log import hush_matplotlib

SIZE, PAD = (10.0, 4.0), 0.12  # inches; the space around each plot
# Colors of Okabe and Ito (2008), safe for color-blind readers; in grayscale, dashes differ.
STYLES = {"train": ("training", "#0072b2", "--"), "val": ("validation", "#d55e00", "-")}
POINTS_UP_TO = 30  # epochs up to which points are marked
LOG_FROM = 20.0  # ratio of the largest to the smallest loss from which the axis is logarithmic


def curves_png(rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> bytes:
    """Plot loss and top-1 accuracy of training and validation, side by side.

    Args:
        rows: rows of `metrics.csv`, at least one; missing values are left out.
        best_epoch: marked by a line, or None.

    Raises:
        ImportError: matplotlib is not installed.
    """
    hush_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    loss, top1 = figure.subplots(1, 2)
    losses = _draw(loss, rows, "loss")
    if 0 < min(losses, default=0.0) * LOG_FROM < max(losses, default=0.0):
        loss.set_yscale("log")
    else:
        loss.set_ylim(0, 1.05 * max(losses, default=0.0) or 1.0)
    _draw(top1, rows, "top1")
    top1.set_ylim(0, 1.02)
    loss.set_ylabel("loss", color=INK, size=11)
    top1.set_ylabel("top-1 accuracy", color=INK, size=11)
    for axes in (loss, top1):
        if best_epoch is not None:
            label = f"best: epoch {best_epoch}"
            axes.axvline(best_epoch, color=FAINT, linewidth=1, linestyle=":", label=label)
        _finish(axes, len(rows))
    top1.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", labelcolor=INK)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], measure: str) -> list[float]:
    """Plot training and validation, as far as measured; return the numbers."""
    epochs = [row["epoch"] for row in rows]
    drawn: list[float] = []
    for part, (name, color, dashes) in STYLES.items():
        values = [_number(row[f"{part}_{measure}"]) for row in rows]
        measured = [value for value in values if isfinite(value)]
        if not measured:
            continue
        drawn += measured
        axes.plot(
            epochs,
            values,
            color=color,
            linestyle=dashes,
            linewidth=1.8,
            marker="o" if len(rows) <= POINTS_UP_TO else "",
            markersize=4,
            label=name,
        )
    return drawn


def _finish(axes: Any, epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", color=INK, size=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs == 1:
        axes.set_xlim(0.5, 1.5)
    tidy(axes)


def tidy(axes: Any) -> None:
    """Draw a faint grid, and only the left and bottom lines of the frame."""
    axes.grid(color="#d0d7de", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def _number(value: float | None) -> float:
    """Return NaN for missing values, which leaves a gap in the line."""
    return nan if value is None else value
