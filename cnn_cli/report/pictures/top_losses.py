"""Sheets of the images that networks get most wrong, or whose labels they contradict."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_cli.data.dataset import Split
from cnn_cli.data.decode import Preprocess, load_image
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.doubted import DoubtedLabels
from cnn_cli.inference.evaluate import Evaluation
from cnn_cli.report.pictures.paper import enlarged
from cnn_cli.report.pictures.sheet import Tile, sheet_png

COLUMNS = 6
LEAST_SIDE, MOST_SIDE = 168, 256  # of a picture, in pixels


def top_losses_png(
    most: int, classifier: Classifier, images: Split, evaluation: Evaluation
) -> bytes:
    """The images of largest loss, the worst first, as the network sees them.

    Under each stand its class, what it was taken for, both with their probabilities, and the name
    of its file.

    Args:
        most: images to show.
        classifier: of the network.
        images: the split that was evaluated.
        evaluation: of at least one image of it.

    Raises:
        ImageError: an image can no longer be read.
    """
    order = np.argsort(-evaluation.losses, kind="stable")[:most]
    tiles = []
    for row in order:
        path = images.paths[int(evaluation.indices[row])]
        label, guess = int(evaluation.labels[row]), int(evaluation.guesses[row])
        lines = (
            (classifier.classes[label], f" {evaluation.label_probabilities[row]:.4f}"),
            (f"predicted {classifier.classes[guess]}", f" {evaluation.confidences[row]:.4f}"),
        )
        tiles.append(_tile(path, classifier.preprocess, lines))
    title = f"The {len(tiles):,} of {len(evaluation.labels):,} images with the largest loss"
    return sheet_png(tiles, COLUMNS, title, str(classifier.path))


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
