"""`cnn data doubt`: find images whose label is contradicted by a network trained without them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import watched, watcher
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.folds import check_folds, parse_folds
from cnn_cli.cli.shared.networks import Overrides, is_checkpoint
from cnn_cli.cli.shared.options import (
    Backend,
    Data,
    Debug,
    Json,
    Memory,
    Out,
    Overwrite,
    Resume,
    Threads,
    TimeLimit,
)
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.cli.shared.stops import ENDS, requests_from_signals
from cnn_cli.errors import UsageError
from cnn_cli.training.requests import Requests

if TYPE_CHECKING:
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.doubted import DoubtedLabels
    from cnn_cli.training.options import TrainOptions

FOLDS = 5
ON_SHEET = 60  # images


@command(
    "data doubt",
    order=15,
    examples=(
        "cnn data doubt configs/small.yaml --out runs/doubt --output doubts.csv",
        "cnn data doubt runs/small --sheet doubts.png",
        "cnn data doubt configs/seed.yaml --data photos --folds 2 data.image_size=64",
    ),
)
def run(
    source: Annotated[
        str,
        Argument(
            metavar="RUN|CONFIG",
            parser=values.text,
            help="A run of folds; another run or checkpoint, judging only images that it "
            "was not trained on; or a config, whose folds are trained first.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    folds: Annotated[
        int | None,
        Option(
            "--folds",
            metavar="K",
            parser=parse_folds,
            help=f"Number of folds to train for a config. Default: {FOLDS}.",
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            parser=values.FileOf(".csv"),
            help="Write one row per doubtful image: path, label, suggested label, probabilities.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            parser=values.FileOf(".png"),
            help=f"Draw the {ON_SHEET} most doubtful images.",
        ),
    ] = None,
    data: Data = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    threads: Threads = None,
    backend: Backend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find probable label errors.

    Lists the images whose label is contradicted by a network trained without them (confident
    learning, Northcutt et al. 2021). Changes nothing. For a config, folds are trained first, which
    stops and resumes like cnn train --folds.
    """
    for path in (output_file, sheet):
        if path is not None:
            output.check_output(path)
    if is_checkpoint(source):
        for option, given in {
            "--folds": folds is not None,
            "--data": data is not None,
            "--out": out is not None,
            "--overwrite": overwrite,
            "--resume": resume,
            "--time-limit": time_limit is not None,
            "--memory": memory is not None,
            (overrides or [""])[0]: bool(overrides),
        }.items():
            if given:
                raise UsageError(option, "needs a CONFIG, not a run or checkpoint", source)
        found = _of_run(Path(source), threads, backend)
    else:
        folds = FOLDS if folds is None else folds
        check_folds(folds, overrides or [])
        requests = Requests()
        if time_limit is not None:
            requests.deadline = time.monotonic() + time_limit
        from cnn_cli.training.options import TrainOptions

        options = TrainOptions(out, overwrite, resume, threads, backend, memory=memory)
        found = _of_config(source, overrides or [], data, folds, options, requests)
    for error in found.bad:
        output.say(f"cnn: {error.line()}")
    _write_files(found, output_file, sheet)
    if json:
        output.write_json(found.as_dict())
    else:
        from cnn_cli.report.text.doubts import doubts_text

        output.write(doubts_text(found))


def _of_run(path: Path, threads: int | None, backend: str | None) -> DoubtedLabels:
    """Examine the images on which a run's networks were not trained."""
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.doubted import doubt_folds, doubt_held_back
    from cnn_cli.inference.evaluate_files import EvaluationOptions
    from cnn_cli.inference.out_of_fold import load_folds, predict_out_of_fold
    from cnn_cli.runs.checkpoint import resolve_checkpoint
    from cnn_cli.runs.folder import folds_in

    options = EvaluationOptions(threads=threads, backend=backend, note=output.note, watch=watched)
    if not folds_in(path):
        classifier = Classifier.load(resolve_checkpoint(path))
        _note_change([classifier])
        return doubt_held_back(classifier, options)
    classifiers = load_folds(path)
    _note_change(classifiers)
    predictions = predict_out_of_fold(classifiers, options)
    return doubt_folds(path, predictions)


def _note_change(classifiers: Sequence[Classifier]) -> None:
    """Note if the images differ from those of the networks' training and validation."""
    from cnn_cli.inference.evaluate_files import own_dataset
    from cnn_cli.runs.receipt import META, Receipt
    from cnn_cli.training.resumed_data import change_since, data_facts

    for classifier in classifiers:
        meta, dataset = classifier.meta, own_dataset(classifier)
        receipt = Receipt.of(dataset) if meta.get(META) else None
        changed = change_since(meta, data_facts(dataset), receipt, Path(classifier.path).parent)
        if changed is not None:
            output.note(
                f"the data changed since the run was trained: {changed}. Some images may be judged "
                "by a network that has seen them; train again to be sure"
            )
            return


def _of_config(
    source: str,
    overrides: list[str],
    data: Path | None,
    folds: int,
    options: TrainOptions,
    requests: Requests,
) -> DoubtedLabels:
    """Train the folds of a config, and examine its images.

    Raises:
        Exit: the training was stopped.
    """
    with requests_from_signals(requests, quiet=False):
        from cnn_cli.config import load_config
        from cnn_cli.inference.doubted import doubt_folds
        from cnn_cli.training.folds import train_folds

        with requests.at_once():
            root = None if data is None else str(data)
            config = load_config(source, overrides, {"data.root": root})
        result = train_folds(
            config,
            source,
            folds,
            options,
            requests,
            lambda: watcher(False, config.train.monitor),
            watched,
        )
    if result.stopped is not None:
        output.note(f"{result.run}: {result.stopped}; --resume continues its folds")
        raise Exit(ENDS[result.stopped])
    if result.predictions is None:
        raise ValueError("no complete fold")
    return doubt_folds(result.run, result.predictions)


def _write_files(found: DoubtedLabels, output_file: Path | None, sheet: Path | None) -> None:
    from cnn_cli.files import write_atomic
    from cnn_cli.report.pictures.top_losses import doubts_png

    if output_file is not None:
        write_atomic(output_file, found.as_csv())
    if sheet is not None and found.doubts:
        write_atomic(sheet, doubts_png(ON_SHEET, found))
    elif sheet is not None:
        output.note(f"{sheet}: is not written, because no label is doubtful")
