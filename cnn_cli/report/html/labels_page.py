"""The parts of a run's page for images with several labels."""

from __future__ import annotations

import numpy as np

from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.metric_names import Metric
from cnn_cli.nn.types import Array
from cnn_cli.report.html.elements import pairs, paragraph, table
from cnn_cli.report.html.gallery import (
    GalleryImage,
    first_rows,
    gallery,
    heats_of,
    load_shown,
    tile,
)
from cnn_cli.report.html.page import Section
from cnn_cli.report.html.results import METRICS, large, scores_block, share, training_pairs, where
from cnn_cli.report.html.subject import MeasuredLabels, Record
from cnn_cli.report.html.template import Markup
from cnn_cli.report.html.threshold_curves import threshold_parts
from cnn_cli.report.text.label_scores import LINES
from cnn_cli.report.text.numbers import NOT_MEASURED, number

NAMES = METRICS | {
    "average_precision": "Average precision, mean of classes (mAP)",
    "micro_f1": "F1, of all labels",
    "subset_accuracy": "All labels right",
}


def labels_result(
    record: Record, measured: MeasuredLabels, judgement: LabelsJudgement
) -> list[Markup]:
    """Return the scores, the images used, and the duration of training."""
    first, *others = [name for line in LINES for name in line]
    below = "area under the precision-recall curve; 1 is best"
    main = large(number(judgement.value(Metric(first))), below)
    rows: list[tuple[str, str | Markup]] = [(NAMES[first], main)]
    rows += [(NAMES[name], number(judgement.value(Metric(name)))) for name in others]
    rows.insert(1, ("Loss", number(judgement.value(Metric("loss")))))
    images = len(measured.evaluation.labels)
    return [
        scores_block(rows),
        paragraph(where(record, measured, images)),
        pairs(training_pairs(record)),
    ]


def labels_sections(
    record: Record, measured: MeasuredLabels, judgement: LabelsJudgement, threads: int
) -> list[Section]:
    """Return the sections that need images: classes, thresholds and images.

    Args:
        record: the run.
        measured: the evaluation.
        judgement: its metrics.
        threads: threads that compute heat maps.
    """
    return [
        Section("classes", "Classes", [_classes(judgement)]),
        Section("thresholds", "Thresholds", threshold_parts(judgement)),
        Section("images", "Images", _pictures(record, measured, judgement, threads)),
    ]


def _classes(judgement: LabelsJudgement) -> Markup:
    """Return a table of all classes, lowest F1 first."""
    found = zip(judgement.by_class.items(), judgement.thresholds, judgement.rankings, strict=True)
    rows = [
        [
            name,
            number(threshold),
            number(of.precision),
            number(of.recall),
            NOT_MEASURED if of.f1 is None else share(of.f1),
            number(of.specificity),
            *map(number, ranking or (None, None)),
            f"{of.support:,}",
        ]
        for (name, of), threshold, ranking in sorted(found, key=lambda each: each[0][1].rank)
    ]
    header = ["class", "threshold", "precision", "recall", "F1", "specificity", "AUC", "AP"]
    caption = "Classes, lowest F1 score first"
    return table(caption, [*header, "images"], rows, "l" + "r" * len(header))


def _pictures(
    record: Record, measured: MeasuredLabels, judgement: LabelsJudgement, threads: int
) -> list[Markup]:
    """Return the images with the largest loss, with the heat map of the worst label."""
    classifier, of = record.classifier, measured.evaluation
    shown = load_shown(classifier, measured, first_rows(np.arange(len(of.labels)), -of.losses))
    worst = np.abs(of.probabilities - of.labels).argmax(axis=1)
    heats, layer = heats_of(classifier, shown, worst, threads)
    words = "The images with the largest loss, as the network sees them, each with its worst label."
    if heats is not None:
        words += f" The heat map beside it is the Grad-CAM of {layer} for that label."
    tiles = [
        _tile(record, measured, judgement, one, worst, None if heats is None else heats[one.row])
        for one in shown
    ]
    return [paragraph(words), gallery(tiles)]


def _tile(
    record: Record,
    measured: MeasuredLabels,
    judgement: LabelsJudgement,
    shown: GalleryImage,
    worst: Array,
    heat: Array | None,
) -> Markup:
    names, row, of = record.classifier.classes, shown.row, measured.evaluation
    own, given = (
        ", ".join(names[i] for i in labels[row].nonzero()[0]) or "no label"
        for labels in (of.labels, judgement.found)
    )
    name = names[worst[row]]
    words = f", predicted {given}; {name} {of.probabilities[row, worst[row]]:.4f}"
    path = measured.shown_path(row)
    return tile(shown.pixels, heat, f"an image of {own}", name, own, words, path)
