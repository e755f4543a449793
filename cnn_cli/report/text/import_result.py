"""The result of `cnn import` as text."""

from __future__ import annotations

from cnn_cli.interop.importing import ImportReport


def import_lines(report: ImportReport) -> list[str]:
    """Return the result as text, one fact per line."""
    unit = "of 0..1" if report.scaled else "not scaled"
    order = f"red, green, blue, {unit}" if len(report.mean) == 3 else unit
    return [
        f"matched     {report.layers} layers by {report.matched_by}",
        f"parameters  {report.parameters:,}",
        f"classes     {report.classes}",
        f"mean, std   {_listed(report.mean)}; {_listed(report.std)} ({order})",
        *(f"note        {note}" for note in report.notes),
        f"written     {report.output}",
    ]


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
