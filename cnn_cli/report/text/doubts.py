"""Doubtful labels as text."""

from __future__ import annotations

from cnn_cli.inference.doubted import DoubtedLabels
from cnn_cli.report.text.table import format_pairs, format_table


def doubts_text(found: DoubtedLabels) -> str:
    """Return the number of doubtful labels, and a table of them, most doubtful first."""
    pairs = [
        ("run", str(found.run)),
        ("images", f"{found.images:,}"),
        ("bad files", f"{len(found.bad):,}"),
        ("doubted", f"{len(found.doubts):,} labels"),
    ]
    if not found.bad:
        del pairs[2]
    text = format_pairs(pairs)
    if not found.doubts:
        return text
    rows = [
        (doubt.path, doubt.label, doubt.suggested, f"{doubt.prob:.4f}", f"{doubt.label_prob:.4f}")
        for doubt in found.doubts
    ]
    header = ("path", "label", "suggested", "prob", "label_prob")
    return text + "\n" + format_table(header, rows, "lllrr")
