"""The comparison of two models, as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cnn_cli.errors import printable
from cnn_cli.inference.comparing import Comparison
from cnn_cli.report.text.numbers import number


def comparison_line(of: Comparison, other: str, alpha: float) -> str:
    """Return one metric as a line.

    Args:
        of: the comparison of the metric.
        other: the model compared with.
        alpha: `alpha` of `compare`.
    """
    parts = [f"{of.metric} {number(of.new)}, {other} {number(of.other)}"]
    if of.p is not None:
        parts.append(f"{of.only_new:,} images right here only, {of.only_other:,} there only")
    if of.interval is not None:
        low, high = of.interval
        share = f"{100 * (1 - 2 * alpha):g} %"
        parts.append(f"difference {low:+.4f} to {high:+.4f} with {share} confidence")
    verdict = "worse" if of.worse else "not worse"
    if of.worse is None:
        verdict = "not comparable: it is not defined for these images"
    parts.append(verdict if of.p is None else f"{verdict} (p = {of.p:.4g})")
    return printable("; ".join(parts))


def comparison_dict(
    found: Sequence[Comparison], other: str, alpha: float, images: int
) -> dict[str, Any]:
    """Return the comparisons for JSON, by metric; `images` is the number that both models read."""
    metrics = {of.metric: asdict(of) for of in found}
    for values in metrics.values():
        del values["metric"]
    return {"ckpt": other, "alpha": alpha, "images": images, "metrics": metrics}
