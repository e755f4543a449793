"""`cnn report`: write one HTML page about a run, or about several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import elapsing
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.labeled import (
    evaluate_images,
    find_images,
    folder_has_parts,
    note_training_images,
    shown_by,
    split_option,
)
from cnn_cli.cli.shared.options import (
    IMAGES,
    BatchSize,
    Debug,
    EvaluationBackend,
    Threads,
)
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.errors import CnnError, DataError, UsageError, printable
from cnn_cli.metric_names import AVERAGE_PRECISION

if TYPE_CHECKING:
    from cnn_cli.report.html.subject import Measured, MeasuredLabels, Record, Subject

NAME = "report"
FILE = Path("report.html")
SUFFIXES = (".html", ".htm", "")  # streams and pipes have none


@command(
    NAME,
    order=40,
    examples=(
        "cnn report runs/small",
        "cnn report runs/tested --split test --output test.html",
        "cnn report model.npz --data photos",
        "cnn report runs/small runs/small-2 --output compared.html",
    ),
)
def run(
    runs: Annotated[
        list[Path] | None,
        Argument(
            metavar="RUN...",
            parser=values.path,
            help="Run folders or checkpoints (.npz). A run of folds stands for each of its folds.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=values.path,
            help="The page to write. Default: report.html, in the run folder if there is only one.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        Option(
            "--data",
            metavar="DIR",
            parser=values.path,
            help=f"{IMAGES} Default: the run's.",
        ),
    ] = None,
    split: Annotated[str | None, split_option(" Default: val.")] = None,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    backend: EvaluationBackend = None,
    debug: Debug = False,
) -> None:
    """Write an HTML page about one run, or several side by side.

    The page is self-contained: curves, metrics, confusion matrix, calibration, mistakes with heat
    maps, filters, layers and config. Without validation images the page has the rest and says so;
    with --data or --split that is an error.
    """
    if not runs:
        raise UsageError(NAME, "needs RUN", "nothing")
    if file is not None and file.suffix.lower() not in SUFFIXES:
        raise UsageError("--output", "must be a .html file", repr(str(file)))
    own = file is None and len(runs) == 1 and runs[0].is_dir()
    if file is None:
        file = runs[0] / FILE if own else FILE
    from cnn_cli.files import write_atomic
    from cnn_cli.report.html.comparison_page import comparison_page
    from cnn_cli.report.html.run_page import run_page
    from cnn_cli.report.html.subject import Record, Subject, short_names
    from cnn_cli.runs.checkpoint import holds_folds
    from cnn_cli.runs.folder import folds_in
    from cnn_cli.system import cpu_count

    records = []
    for run in runs:
        if holds_folds(run):
            records += [Record.open(fold) for fold in folds_in(run)]
            together = Record.open(run)
            if data is not None or together.classifier.agrees_on(split or "val"):
                records.append(together)
        else:
            records.append(Record.open(run))
    _check_comparable(records)
    output.check_output(file)
    subjects = []
    names = short_names([record.path for record in records])
    for name, record in zip(names, records, strict=True):
        measured: Measured | MeasuredLabels | str
        try:
            measured = _measure(record, data, split or "val", batch_size, threads, backend)
        except CnnError as error:
            if data is not None or split is not None:
                raise
            output.note(error.line())
            measured = error.line()
        subjects.append(Subject(name, record, measured))
    with elapsing("drawing the page"):
        if len(subjects) == 1:
            contents = run_page(subjects[0], threads or cpu_count())
        else:
            contents = comparison_page(subjects)
    write_atomic(file, contents, own=own)
    output.write_about(file, printable(f"{file}: {_words(subjects)}") + "\n")


def _check_comparable(records: Sequence[Record]) -> None:
    """Refuse runs without a common metric.

    Raises:
        DataError: some have several labels per image, and others one.
    """
    first = records[0].classifier
    for record in records[1:]:
        kind = record.classifier.labels_kind
        if kind != first.labels_kind:
            rule = f"must be of data.labels {first.labels_kind}, as {first.path}, to be compared"
            raise DataError(record.classifier.path, rule, kind)


def _measure(
    record: Record,
    data: Path | None,
    split: str,
    batch_size: int,
    threads: int | None,
    backend: str | None,
) -> Measured | MeasuredLabels:
    """Evaluate a run on a part of the folder `--data`, or of its own images."""
    from cnn_cli.inference.evaluate import Evaluation
    from cnn_cli.report.html.subject import Measured, MeasuredLabels

    classifier = record.classifier
    images = find_images(NAME, classifier, data, split, "--data DIR")
    if len(classifier.networks) == 1:  # the folds of an average are measured one by one as well
        note_training_images([classifier], images, data, split)
    place = data or classifier.config.data.root
    if data is not None and not folder_has_parts(classifier, data):
        split = "all"
    options = shown_by(batch_size, threads, backend)
    evaluation, bad = evaluate_images(classifier, images, place, options)
    if isinstance(evaluation, Evaluation):
        return Measured(images, evaluation, bad, split, str(place))
    return MeasuredLabels(images, evaluation, bad, split, str(place))


def _words(subjects: list[Subject]) -> str:
    """Describe the page's subjects."""
    from cnn_cli.report.html.results import judgement_of
    from cnn_cli.report.html.subject import Measured

    averaged = sum(len(subject.record.classifier.networks) > 1 for subject in subjects)
    if len(subjects) > 1:
        return f"{len(subjects) - averaged} runs" + (", and their average" if averaged else "")
    measured = subjects[0].measured
    if isinstance(measured, str):
        return "without scores"
    if not isinstance(measured, Measured):
        judgement = judgement_of(subjects[0])
        value = None if judgement is None else judgement.value(AVERAGE_PRECISION)
        words = "without average precision" if value is None else f"average precision {value:.4f}"
        return f"{words} on {len(measured.evaluation.labels):,} images"
    evaluation = measured.evaluation
    return f"top-1 {evaluation.top1:.4f} on {len(evaluation.labels):,} images"
