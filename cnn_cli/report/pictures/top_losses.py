"""Sheets of the images that networks get most wrong, or whose labels they contradict."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import Preprocess, load_image
from cnn_cli.data.targets import NONE
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.doubted import DoubtedLabels
from cnn_cli.inference.judging import AnyJudgement
from cnn_cli.inference.several_labels import LabelsJudgement
from cnn_cli.report.pictures.paper import enlarged
from cnn_cli.report.pictures.sheet import Tile, sheet_png

COLUMNS = 6
LEAST_SIDE, MOST_SIDE = 168, 256  # of a picture, in pixels


def top_losses_png(
    most: int, classifier: Classifier, images: Split, judgement: AnyJudgement
) -> bytes:
    """The images of largest loss, the worst first, as the network sees them.

    Under each stand its class, what it was taken for, both with their probabilities, and the name
    of its file; of several labels its own, those that it is given, and the probability of the one
    that is most wrong.

    Args:
        most: images to show.
        classifier: of the network.
        images: the split that was evaluated.
        judgement: of at least one image of it.

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
    """Lines under an image, each with the end that stays where there is little room."""
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
    """The images whose label is contradicted most, as the networks see them.

    Under each stand its label, the suggested one, both with their probabilities, and the name of
    its file.

    Args:
        most: images to show.
        found: one of them at least.

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
                (f"rather {doubt.suggested}", f" {doubt.prob:.4f}"),
            ),
        )
        for doubt in shown
    ]
    title = f"{len(shown):,} of {len(found.doubts):,} images whose label is doubted"
    return sheet_png(tiles, COLUMNS, title, str(found.run))


def _tile(path: str, preprocess: Preprocess, lines: tuple[tuple[str, str], ...]) -> Tile:
    """An image, as a network sees it, over lines and the name of its file."""
    picture = enlarged(load_image(path, preprocess), LEAST_SIDE)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    return Tile((picture,), (*lines, (Path(path).stem, Path(path).suffix)))
