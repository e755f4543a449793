"""`cnn eval`: how good a checkpoint is on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_cli.cli import output, values
from cnn_cli.cli.gates import Gate, gate
from cnn_cli.cli.labelled import SPLITS, evaluate_images, find_images
from cnn_cli.cli.options import BatchSize, Checkpoint, Debug, Json, Threads
from cnn_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.data.decode import ImageError
    from cnn_cli.nn.types import Array
    from cnn_cli.training.calibration import Calibration
    from cnn_cli.training.evaluate import Evaluation

    Bad = dict[int, ImageError]
    Names = tuple[str, ...]
    Writer = Callable[[Names, Split, Evaluation, Bad], bytes]

NAME = "eval"
EXAMPLES = """\b
Examples:
  cnn eval --ckpt runs/small
  cnn eval photos/ --ckpt model.npz --split test --json
  cnn eval --ckpt runs/small --confusion confusion.csv --fail-under top1=0.9
  cnn eval --ckpt runs/small --split test --tta multicrop
  cnn eval --ckpt runs/small --calibrate
"""
TTA = ("hflip", "multicrop", "tencrop")


def command(
    ckpt: Checkpoint,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]",
            parser=values.path("DIR"),
            help="Images by class, or folders train, val and test of them. Default: the run's.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="|".join(SPLITS),
            parser=values.choice("--split", SPLITS),
            help="Which part; a DIR without parts is taken whole.",
        ),
    ] = "val",
    topk: Annotated[
        int,
        typer.Option(
            "--topk",
            metavar="K",
            parser=values.whole("--topk", 1),
            help="How many guesses top-k counts; at most the number of classes.",
        ),
    ] = 5,
    confusion: Annotated[
        Path | None,
        typer.Option(
            "--confusion",
            metavar="FILE",
            parser=values.path("--confusion"),
            help="Write the confusion matrix, as .csv or .png.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE.csv",
            parser=values.path("--predictions"),
            help="Write a row per image: path, true class, label, probability, error.",
        ),
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(
            "--tta",
            metavar="|".join(TTA),
            parser=values.choice("--tta", TTA),
            help="Average the scores of each image and its mirror image; of both, moved a little; "
            "or of ten crops of a larger one.",
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Find the temperature that makes probabilities fit the accuracy on the "
            "validation images, and keep it in the checkpoint.",
        ),
    ] = False,
    fail_under: Annotated[
        list[Gate] | None,
        typer.Option(
            "--fail-under",
            metavar="METRIC=BOUND",
            parser=gate(r"top[1-9]\d{0,5}|topk|loss", "top1=0.9, topk=0.99 or loss=0.5"),
            help="Exit with 6 where top1 or topk is below the bound, or the loss above it.",
        ),
    ] = None,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say how good a checkpoint is on labelled images.

    Prints loss, top-1, top-k, and each class's precision, recall, F1 score and support. Images
    that cannot be read are named on stderr and left out.
    """
    if folders is not None and len(folders) > 1:
        raise UsageError(NAME, "takes one DIR at most", f"'{folders[1]}' as well")
    if calibrate and (tta is not None or split != "val"):
        rule = "is measured on validation images as they are, without --tta or another --split"
        raise UsageError("--calibrate", rule)
    outputs = _check_outputs(confusion, predictions)
    from cnn_cli.files import write_atomic
    from cnn_cli.report.scores import score, top_share
    from cnn_cli.training.calibration import changing, store
    from cnn_cli.training.checkpoint import resolve_checkpoint
    from cnn_cli.training.classifier import Classifier

    file = resolve_checkpoint(ckpt)
    with changing(file) if calibrate else nullcontext():
        classifier = Classifier.load(file)
        if calibrate:
            output.check_output(file)
        classes, temperature = classifier.classes, classifier.temperature
        images = find_images(NAME, classifier, folders[0] if folders else None, split)
        evaluation, bad = evaluate_images(classifier, images, batch_size, threads, tta)
        for error in bad.values():
            output.say(f"cnn: {error.line()}")
        place = folders[0] if folders else classifier.config.data.root
        if not len(evaluation.labels):
            raise DataError(place, "must hold an image that can be read", f"{len(bad)} that cannot")
        calibration = None
        if calibrate:
            calibration = _calibrate(evaluation, place)
            store(file, calibration)
            output.say(f"cnn: {file}: has temperature {calibration.temperature:.4f} now")
            temperature = calibration.temperature
    evaluation = evaluation.at_temperature(temperature)
    for path, contents in outputs.items():
        write_atomic(path, contents(classes, images, evaluation, bad))
    scores = score(
        evaluation,
        classes,
        len(bad),
        topk,
        temperature=temperature,
        tta=tta,
        calibration=calibration,
    )
    output.write(output.json_line(scores.as_dict()) + "\n" if json else scores.as_text())
    output.flush()
    for one in fail_under or []:
        share = top_share(evaluation, scores.k if one.k is None else one.k)
        one.check(scores.loss if one.metric == "loss" else share, "none")


def _calibrate(evaluation: Evaluation, place: object) -> Calibration:
    from cnn_cli.training.calibration import calibrate

    found = calibrate(evaluation)
    if found is None:
        share = f"{evaluation.top1:.4f} of {len(evaluation.labels):,} images right"
        rule = "--calibrate needs images of which the network gets some wrong and most right"
        raise DataError(place, rule, share)
    return found


def _check_outputs(confusion: Path | None, predictions: Path | None) -> dict[Path, Writer]:
    """What to write where; an error before any work where that cannot be."""
    outputs: dict[Path, Writer] = {}
    if predictions is not None:
        if predictions.suffix.lower() != ".csv":
            raise UsageError("--predictions", "must be a .csv file", f"'{predictions}'")
        outputs[predictions] = _predictions_csv
    if confusion is not None:
        if confusion == predictions:
            raise UsageError("--confusion", "must be another file than --predictions")
        if confusion.suffix.lower() not in (".csv", ".png"):
            raise UsageError("--confusion", "must be a .csv or .png file", f"'{confusion}'")
        picture = confusion.suffix.lower() == ".png"
        if picture and find_spec("matplotlib") is None:
            rule = "a .png needs matplotlib: python -m pip install 'cnn-cli[report]'"
            raise UsageError("--confusion", rule)
        outputs[confusion] = _confusion_png if picture else _confusion_csv
    for path in outputs:
        output.check_output(path)
    return outputs


def _predictions_csv(names: Names, images: Split, evaluation: Evaluation, bad: Bad) -> bytes:
    from cnn_cli.report.predictions import predictions_csv

    return predictions_csv(
        names, images.paths, images.labels, evaluation, {i: bad[i].message for i in bad}
    )


def _confusion_csv(names: Names, images: Split, evaluation: Evaluation, bad: Bad) -> bytes:
    from cnn_cli.report.confusion import confusion_csv

    return confusion_csv(_counts(names, evaluation), names)


def _confusion_png(names: Names, images: Split, evaluation: Evaluation, bad: Bad) -> bytes:
    from cnn_cli.report.confusion import confusion_png

    return confusion_png(_counts(names, evaluation), names)


def _counts(names: Names, evaluation: Evaluation) -> Array:
    from cnn_cli.training.metrics import confusion_matrix

    guesses = evaluation.probabilities.argmax(axis=1)
    return confusion_matrix(evaluation.labels, guesses, len(names))
