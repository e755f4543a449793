"""The page of one run."""

from __future__ import annotations

import time
from typing import Any

from cnn_cli import __version__
from cnn_cli.config import config_text
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.nn.layers.base import shape_text
from cnn_cli.report.html.confusion_table import confusion_parts
from cnn_cli.report.html.elements import config_block, heading, pairs, table
from cnn_cli.report.html.gallery import filters, galleries
from cnn_cli.report.html.labels_page import labels_result, labels_sections
from cnn_cli.report.html.page import Section, page
from cnn_cli.report.html.results import (
    calibration_parts,
    judgement_of,
    network_pairs,
    per_class_table,
    result,
    scores_of,
    versions_pairs,
)
from cnn_cli.report.html.subject import Measured, MeasuredLabels, Record, Subject
from cnn_cli.report.html.template import Markup
from cnn_cli.report.html.threshold_curves import threshold_parts
from cnn_cli.report.html.training_curves import curves
from cnn_cli.report.text.network_summary import summarize
from cnn_cli.system import versions


def run_page(subject: Subject, threads: int) -> bytes:
    """Return an HTML file about a run.

    If no images were evaluated, the sections that need them are left out and the page gives the
    reason.

    Args:
        subject: the run.
        threads: threads that compute heat maps.
    """
    record, judgement = subject.record, judgement_of(subject)
    scores = scores_of(subject, judgement)
    measured = subject.measured
    if isinstance(measured, MeasuredLabels) and isinstance(judgement, LabelsJudgement):
        first = labels_result(record, measured, judgement)
    else:
        first = result(subject, scores)
    sections = [
        Section("result", "Result", first),
        Section("curves", "Curves", curves([subject])),
    ]
    if isinstance(measured, MeasuredLabels) and isinstance(judgement, LabelsJudgement):
        sections += labels_sections(record, measured, judgement, threads)
    if isinstance(measured, Measured) and scores and isinstance(judgement, Judgement):
        confusion = confusion_parts(judgement.confusion, judgement.classes)
        sections += [
            Section("confusion", "Confusion", confusion),
            Section("classes", "Classes", [per_class_table(scores, judgement)]),
            Section("thresholds", "Thresholds", threshold_parts(judgement)),
            Section(
                "calibration",
                "Calibration",
                calibration_parts(
                    measured, scores, calibrated="calibration" in record.classifier.meta
                ),
            ),
            Section("images", "Images", galleries(record.classifier, measured, threads)),
        ]
    sections += [
        Section("filters", "First filters", filters(record.classifier)),
        Section("layers", "Layers", [layer_table(record)]),
        Section("config", "Config", [config_block(config_text(record.config))]),
        Section("environment", "Environment", environment(record)),
    ]
    return page(subject.name, _subtitle(subject), sections)


def layer_table(record: Record) -> Markup:
    """Return the table of `cnn summary`."""
    meta: dict[str, Any] = record.meta
    classifier = record.classifier
    summary = summarize(
        classifier.graph,
        record.config.train,
        meta.get("threads", 1),
        meta.get("backend", "numpy"),
    )
    rows = [["input", "", "", shape_text(summary.input), "0", "0"]]
    rows += [
        [
            row.name,
            row.type,
            row.path,
            shape_text(row.output),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
        ]
        for row in summary.layers
    ]
    rows.append(["total", "", "", "", f"{summary.parameters:,}", f"{summary.multiply_adds:,}"])
    header = ["layer", "type", "path", "output", "parameters", "multiply-adds"]
    caption = "Output shape, parameters and multiply-adds of each layer, for one image"
    return table(caption, header, rows, "llllrr")


def environment(record: Record) -> list[Markup]:
    """Return the versions with which the network was trained and the report was made."""
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return [
        heading("Training"),
        pairs(network_pairs(record)),
        heading("This report"),
        pairs([("cnn", __version__), *versions_pairs(versions()), ("Made", made)]),
    ]


def _subtitle(subject: Subject) -> str:
    record = subject.record
    classes = len(record.classifier.classes)
    size = shape_text(record.classifier.graph.in_shape)
    return f"{record.path}: {classes:,} classes, images of {size}"
