"""A learning rate range test as a plot: loss over learning rate."""

from __future__ import annotations

import io

from cnn_cli.report.pictures.confusion_plot import DPI, FAINT, INK
from cnn_cli.report.pictures.curves_plot import PAD, STYLES, tidy
from cnn_cli.report.pictures.matplotlib_log import hush_matplotlib
from cnn_cli.training.lr_range import LrRange

SIZE = (7.0, 4.5)  # inches
ABOVE = 1.3  # multiple of the highest smoothed loss before the minimum, which limits the plot


def lr_range_png(found: LrRange) -> bytes:
    """Plot each step's loss and the smoothed loss, with the suggestion.

    Raises:
        ImportError: matplotlib is not installed.
    """
    hush_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    axes = figure.subplots()
    rates = [point.lr for point in found.points]
    color = STYLES["val"][1]
    axes.plot(rates, [point.loss for point in found.points], color=FAINT, lw=0.8, label="loss")
    axes.plot(
        rates, [point.smoothed for point in found.points], color=color, lw=1.8, label="smoothed"
    )
    if found.suggestion is not None:
        label = f"suggestion: {found.suggestion:g}"
        other = STYLES["train"][1]
        axes.axvline(found.suggestion, color=other, lw=1.2, linestyle="--", label=label)
    before = found.points[: found.points.index(found.lowest) + 1]
    axes.set_ylim(0, ABOVE * max(point.smoothed for point in before) or 1.0)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", color=INK, size=11)
    axes.set_ylabel("loss", color=INK, size=11)
    tidy(axes)
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", labelcolor=INK)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()
