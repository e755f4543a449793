"""Sheets of the images with the largest loss, or with doubtful labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import load_image
from cnn_cli.data.preprocess import Preprocess
from cnn_cli.data.targets import NONE
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.doubted import DoubtedLabels
from cnn_cli.inference.judging import AnyJudgement
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.report.pictures.paper import enlarged
from cnn_cli.report.pictures.sheet import Tile, sheet_png

COLUMNS = 6
LEAST_SIDE, MOST_SIDE = 168, 256  # side of an image in pixels


def top_losses_png(
    most: int, classifier: Classifier, images: Split, judgement: AnyJudgement
) -> bytes:
    """Draw the images with the largest loss, largest first, as the network receives them.

    Under each are its class and the predicted class, both with probabilities, and its file name;
    with several labels its labels, the predicted ones, and the probability of the worst answer.

    Args:
        most: number of images to show.
        classifier: the classifier.
        images: the evaluated split.
        judgement: metrics of at least one image of it.

    Raises:
        ImageError: an image can no longer be read.
    """
    evaluation = judgement.evaluation
    order = np.argsort(-evaluation.losses, kind="stable")[:most]
    tiles = []
    for row in order:
        path = images.paths[int(evaluation.indices[row])]
        tiles.append(_tile(path, classifier.preprocess, _what_is_wrong(judgement, int(row))))
    title = f"The {len(tiles):,} of {len(evaluation.labels):,} images with the largest loss"
    return sheet_png(tiles, COLUMNS, title, str(classifier.path))


def _what_is_wrong(judgement: AnyJudgement, row: int) -> tuple[tuple[str, str], ...]:
    """Return the lines under an image, each with an end that is never shortened."""
    names = judgement.classes
    if isinstance(judgement, LabelsJudgement):
        known, given = judgement.evaluation.labels[row], judgement.found[row]
        texts = [", ".join(names[i] for i in each.nonzero()[0]) or NONE for each in (known, given)]
        probabilities = judgement.evaluation.probabilities[row]
        worst = int(np.abs(probabilities - known).argmax())
        told = f" {probabilities[worst]:.4f}"
        return (texts[0], ""), (f"given {texts[1]}", ""), (names[worst], told)
    of = judgement.evaluation
    label, guess = int(of.labels[row]), int(of.guesses[row])
    return (
        (names[label], f" {of.label_probabilities[row]:.4f}"),
        (f"predicted {names[guess]}", f" {of.confidences[row]:.4f}"),
    )


def doubts_png(most: int, found: DoubtedLabels) -> bytes:
    """Draw the images with the most doubtful labels, as the networks receive them.

    Under each are its label and the suggested one, both with probabilities, and its file name.

    Args:
        most: number of images to show.
        found: at least one doubtful label.

    Raises:
        ImageError: an image can no longer be read.
    """
    shown = found.doubts[:most]
    tiles = [
        _tile(
            doubt.path,
            found.preprocess,
            (
                (doubt.label, f" {doubt.label_prob:.4f}"),
                (f"suggested {doubt.suggested}", f" {doubt.prob:.4f}"),
            ),
        )
        for doubt in shown
    ]
    title = f"{len(shown):,} of {len(found.doubts):,} images whose label is doubted"
    return sheet_png(tiles, COLUMNS, title, str(found.run))


def _tile(path: str, preprocess: Preprocess, lines: tuple[tuple[str, str], ...]) -> Tile:
    """Return a tile with an image as a network receives it, lines, and its file name."""
    picture = enlarged(load_image(path, preprocess), LEAST_SIDE)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    return Tile((picture,), (*lines, (Path(path).stem, Path(path).suffix)))
