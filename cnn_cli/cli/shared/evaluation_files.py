"""The files of `cnn eval`: predictions, confusion matrix, images with the largest loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.against import Against
from cnn_cli.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.data.image_error import ImageError
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.judging import AnyJudgement

    Bad = dict[int, ImageError]
    Contents = bytes | Callable[[BinaryIO], None]
    Writer = Callable[[Classifier, Split, AnyJudgement, Bad, Against | None], Contents]

SHEET = Path("top-losses.png")


def check_files(
    confusion: Path | None, predictions: Path | None, top_losses: int | None, sheet: Path | None
) -> dict[Path, Writer]:
    """Return a writer for each file; raise before any work if one cannot be written.

    Args:
        confusion, predictions, top_losses, sheet: the values of these options.

    Raises:
        UsageError: two files have one name, or matplotlib is missing.
        DataError: a file cannot be written.
    """
    files: dict[Path, Writer] = {}
    if predictions is not None:
        files[predictions] = _predictions_csv
    if confusion is not None:
        if _is_among(confusion, files):
            raise UsageError("--confusion", "must be another file than --predictions")
        files[confusion] = _confusion_writer(confusion)
    if sheet is not None and top_losses is None:
        raise UsageError("--sheet", "goes with --top-losses N")
    if top_losses is not None:
        sheet = SHEET if sheet is None else sheet
        if _is_among(sheet, files):
            raise UsageError("--sheet", "must be another file than --confusion")
        files[sheet] = _top_losses_writer(top_losses)
    for path in files:
        output.check_output(path)
    return files


def _is_among(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path leads to the same file as one of the others, whatever its form."""
    return os.path.realpath(path) in map(os.path.realpath, others)


def _confusion_writer(path: Path) -> Writer:
    if path.suffix.lower() == ".csv":
        return _confusion_csv
    if find_spec("matplotlib") is None:
        raise missing_extra("--confusion", "matplotlib for a .png", "report")
    return _confusion_png


def _predictions_csv(
    classifier: Classifier,
    images: Split,
    judgement: AnyJudgement,
    bad: Bad,
    against: Against | None,
) -> bytes:
    from cnn_cli.data.targets import numbers_of
    from cnn_cli.report.text.csv_files import predicted_labels, predictions_csv

    problems, truth = {i: bad[i].message for i in bad}, []
    for i in range(len(images)):
        names = [classifier.classes[number] for number in numbers_of(images.labels, i)]
        truth.append(classifier.label_text(names) or names[0])
    other = None if against is None else predicted_labels(against.judgement, against.model.several)
    predicted = predicted_labels(judgement, classifier.several)
    return predictions_csv(images.paths, truth, predicted, problems, other)


def _confusion_csv(
    classifier: Classifier, images: Split, judgement: AnyJudgement, bad: Bad, _: Against | None
) -> Contents:
    from cnn_cli.inference.several_labels import LabelsJudgement
    from cnn_cli.report.text.csv_files import confusion_csv, confusions_csv

    if isinstance(judgement, LabelsJudgement):
        return confusions_csv(judgement)
    confusion = judgement.confusion
    return lambda file: confusion_csv(confusion, classifier.classes, file)


def _confusion_png(
    classifier: Classifier, images: Split, judgement: AnyJudgement, bad: Bad, _: Against | None
) -> bytes:
    from cnn_cli.inference.several_labels import LabelsJudgement
    from cnn_cli.report.pictures.confusion_plot import confusion_png

    if isinstance(judgement, LabelsJudgement):  # `_check_labels` refuses this
        raise ValueError("a confusion matrix of several labels")
    return confusion_png(judgement.confusion, classifier.classes)


def _top_losses_writer(most: int) -> Writer:
    def write(
        classifier: Classifier,
        images: Split,
        judgement: AnyJudgement,
        bad: Bad,
        _: Against | None,
    ) -> bytes:
        from cnn_cli.report.pictures.top_losses import top_losses_png

        return top_losses_png(most, classifier, images, judgement)

    return write
