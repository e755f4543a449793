"""`cnn eval`: evaluate a checkpoint on labeled images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.against import ALPHA, Against, gate_metric
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.evaluation_files import SHEET, check_files
from cnn_cli.cli.shared.gates import NOT_DEFINED, Gate, check_gates, gate
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
    Checkpoints,
    Debug,
    EvaluationBackend,
    Json,
    TestTime,
    Threads,
)
from cnn_cli.cli.shared.parameters import Argument, Option
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import UsageError

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.judging import AnyJudgement
    from cnn_cli.inference.rejection import Rejection
    from cnn_cli.parallel.ranks import Ranks
    from cnn_cli.report.text.label_scores import LabelScores
    from cnn_cli.report.text.scores import Scores


NAME = "eval"
AROUND = 15  # lines around the table of classes: scores, header, note, and the prompt
LEAST_ROWS = 9


@command(
    NAME,
    order=30,
    ranks=True,
    examples=(
        "cnn eval --ckpt runs/small",
        "cnn eval photos/ --ckpt model.npz --split test --json",
        "cnn eval --ckpt runs/small --confusion confusion.csv --fail-under top1=0.9",
        "cnn eval --ckpt runs/tested --split test --tta multicrop",
        "cnn eval --ckpt runs/small --not-worse-than runs/small-2",
        "cnn eval --ckpt runs/small --ckpt runs/small-2 --json",
        "cnn eval --ckpt runs/small --calibrate",
        "cnn eval --ckpt runs/small --calibrate --reject 0.05",
        "cnn eval --ckpt runs/small --top-losses 24 --sheet worst.png",
    ),
)
def run(
    ckpt: Checkpoints,
    folders: Annotated[
        list[Path] | None,
        Argument(
            metavar="[DIR]",
            parser=values.path,
            help=f"{IMAGES} Default: the run's.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, split_option()] = "val",
    topk: Annotated[
        int,
        Option(
            "--topk",
            metavar="K",
            parser=values.whole(1),
            help="K of top-k accuracy, at most the number of classes.",
        ),
    ] = 5,
    confusion: Annotated[
        Path | None,
        Option(
            "--confusion",
            parser=values.FileOf(".csv", ".png"),
            help="Write the confusion matrix.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        Option(
            "--predictions",
            parser=values.FileOf(".csv"),
            help="Write one row per image: path, true class, label, probability, error.",
        ),
    ] = None,
    top_losses: Annotated[
        int | None,
        Option(
            "--top-losses",
            metavar="N",
            parser=values.whole(1, below=1001),
            help="Draw the N images with the largest loss, with labels and predictions.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            "--sheet",
            parser=values.FileOf(".png"),
            help=f"The image file of --top-losses. Default: {SHEET}.",
        ),
    ] = None,
    tta: TestTime = None,
    calibrate: Annotated[
        bool,
        Option(
            "--calibrate",
            help="Fit a temperature on the validation images so that probabilities match "
            "accuracy, and store it in the checkpoint.",
        ),
    ] = False,
    reject: Annotated[
        float | None,
        Option(
            "--reject",
            metavar="SHARE",
            parser=values.number(1),
            help="With --calibrate: learn to refuse images of none of the classes, so that this "
            "share of the validation images is refused, such as 0.05.",
        ),
    ] = None,
    fail_under: Annotated[
        list[Gate] | None,
        Option(
            "--fail-under",
            metavar="METRIC=BOUND",
            parser=gate(topk=True),
            help="Exit with 6 if a metric, such as macro_f1 or recall:CLASS, is below the "
            "bound (loss, brier, ece: above it). May be repeated; 'cnn docs metrics' "
            "lists them.",
        ),
    ] = None,
    not_worse_than: Annotated[
        Path | None,
        Option(
            "--not-worse-than",
            metavar="CKPT",
            parser=values.path,
            help="Exit with 6 if the checkpoint is worse than this one on the same images, "
            "in top1 or in the metrics that --fail-under names.",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        Option(
            "--alpha",
            metavar="P",
            parser=values.number(0.5),
            help=f"Significance level of --not-worse-than. Default: {ALPHA}.",
        ),
    ] = None,
    batch_size: BatchSize = 64,
    threads: Threads = None,
    backend: EvaluationBackend = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Evaluate a checkpoint on labeled images.

    Prints loss, top-1, top-k and other metrics, and precision, recall, F1 score, specificity and
    support of each class. Unreadable images are listed on stderr and skipped.
    """
    against = None if not_worse_than is None else Against(not_worse_than, alpha)
    _check_options(ckpt, folders, split, tta, calibrate, against, alpha, reject)
    if calibrate:
        _check_one_network(ckpt[0])
    job = ranks()
    writes = job.rank == 0
    files = check_files(confusion, predictions, top_losses, sheet) if writes else {}
    from cnn_cli.files import write_atomic
    from cnn_cli.inference.calibration import calibrate_classifier, changing, store
    from cnn_cli.inference.judging import judge
    from cnn_cli.inference.opening import open_classifier
    from cnn_cli.report.text.label_scores import score_any
    from cnn_cli.report.text.training_result import chosen_by
    from cnn_cli.runs.checkpoint import resolve_checkpoint

    with changing(resolve_checkpoint(ckpt[0])) if calibrate and writes else nullcontext():
        classifier = open_classifier(ckpt, tta)
        file = classifier.path
        check_gates(fail_under or [], classifier.classes, classifier.labels_kind)
        _check_labels(classifier, confusion, reject)
        if against is not None:
            against.load(classifier, tta)
        _check_alike(job, classifier, backend, against, calibrate, reject)
        if calibrate and writes:
            output.check_output(file)
        folder = folders[0] if folders else None
        images = job.first(lambda: find_images(NAME, classifier, folder, split))
        place = folder or classifier.config.data.root
        options = shown_by(batch_size, threads, backend, job)
        evaluation, bad = evaluate_images(classifier, images, place, options, calibrate=calibrate)
        if against is not None:
            against.evaluate(images, classifier, options, bad)
        if not writes:
            return
        models = [classifier] if against is None else [classifier, against.model]
        note_training_images(models, images, folder, split)
        calibration, several = None, classifier.several
        if calibrate:
            calibration, several = calibrate_classifier(
                classifier, evaluation, place, rejects=reject is not None, note=output.note
            )
            rejection = None
            if reject is not None:
                rejection = _learn(classifier, images, folder, reject, threads, backend)
            store(file, calibration, rejection, several)
            output.say(f"cnn: {file}: has temperature {calibration.temperature:.4f} now")
            evaluation = evaluation.at_temperature(calibration.temperature)
    judgement = judge(evaluation, classifier.classes, () if several is None else several.thresholds)
    for path, contents in files.items():
        write_atomic(path, contents(classifier, images, judgement, bad, against))
    if top_losses is not None and sheet is None:
        output.say(f"cnn: images with the largest loss: {SHEET}")
    scores = score_any(
        judgement,
        len(bad),
        topk,
        tta=classifier.tta_text,
        tta_is_stored=tta is None,
        calibration=calibration,
        chosen_by=chosen_by(classifier.meta, str(file)) if len(classifier.networks) == 1 else None,
    )
    _tell(judgement, scores, fail_under or [], against, json=json)


def _tell(
    judgement: AnyJudgement,
    scores: Scores | LabelScores,
    gates: Sequence[Gate],
    against: Against | None,
    *,
    json: bool,
) -> None:
    """Print the scores, and check the gates.

    Raises:
        GateError: a gate fails, or the model is worse than the other one.
    """
    found = [] if against is None else against.compare(judgement, gates, scores.k)
    if json:
        more = {} if against is None else against.as_dict(found)
        output.write_json(scores.as_dict() | more)
    else:
        lines = "" if against is None else against.lines(found)
        output.write(scores.as_text(*_room()) + lines)
    for one in gates:
        one.check(judgement.value(gate_metric(one, scores.k)), NOT_DEFINED)
    if against is not None:
        against.check(found)


def _check_options(
    ckpt: Sequence[Path],
    folders: Sequence[Path] | None,
    split: str,
    tta: str | None,
    calibrate: bool,
    against: Against | None,
    alpha: float | None,
    reject: float | None,
) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: they do.
    """
    if folders is not None and len(folders) > 1:
        raise UsageError(NAME, "takes one DIR at most", f"'{folders[1]}' as well")
    if calibrate and (tta is not None or split != "val"):
        rule = "uses the validation images, without --tta or another --split"
        raise UsageError("--calibrate", rule)
    if calibrate and len(ckpt) > 1:
        raise UsageError("--calibrate", "changes the checkpoint: needs a single --ckpt", len(ckpt))
    if calibrate and against is not None:
        raise UsageError("--calibrate", "changes the checkpoint: goes without --not-worse-than")
    if reject is not None and not calibrate:
        raise UsageError("--reject", "goes with --calibrate")
    if reject in (0, 1):
        raise UsageError("--reject", "must be above 0 and below 1", reject)
    if alpha == 0:
        raise UsageError("--alpha", "must be above 0, up to 0.5", alpha)
    if alpha is not None and against is None:
        raise UsageError("--alpha", "goes with --not-worse-than CKPT")


def _check_one_network(ckpt: Path) -> None:
    """Refuse to calibrate a run of folds.

    Raises:
        UsageError: it is one.
    """
    from cnn_cli.runs.checkpoint import holds_folds

    if holds_folds(ckpt):
        rule = f"changes one checkpoint: needs the folds one by one, --ckpt {ckpt / 'fold-1'} first"
        raise UsageError("--calibrate", rule, f"the run of folds '{ckpt}'")


def _check_labels(classifier: Classifier, confusion: Path | None, reject: float | None) -> None:
    """Refuse options that are undefined for several labels per image.

    Raises:
        UsageError: there is one.
    """
    if classifier.several is None:
        return
    if confusion is not None and confusion.suffix.lower() == ".png":
        rule = "a .png is of images with one label; of several, a .csv has four counts a class"
        raise UsageError("--confusion", rule, f"'{confusion}'")
    if reject is not None:
        rule = "is for images with one label; where there are several, one of no class has none"
        raise UsageError("--reject", rule)


def _check_alike(
    job: Ranks,
    classifier: Classifier,
    backend: str | None,
    against: Against | None,
    calibrate: bool,
    reject: float | None,
) -> None:
    """Refuse ranks that were given different models or options."""
    if job.size > 1:
        from cnn_cli.parallel.alike import check_alike

        given: dict[str, object] = {"--ckpt": classifier.digest(), "--tta": classifier.tta_text}
        given |= {"--backend": backend, "--calibrate": calibrate, "--reject": reject}
        if against is not None:
            given["--not-worse-than"] = (against.model.digest(), against.model.tta_text)
        check_alike(job, NAME, given)


def _room() -> tuple[int | None, int | None]:
    """Return columns, and rows for the table of classes, if stdout is a terminal."""
    size = output.terminal_size()
    return (None, None) if size is None else (size.columns, max(size.lines - AROUND, LEAST_ROWS))


def _learn(
    classifier: Classifier,
    val: Split,
    folder: Path | None,
    share: float,
    threads: int | None,
    backend: str | None,
) -> Rejection:
    """Estimate the rejection from the training images of the folder, or else of the run."""
    from cnn_cli.inference.rejecting import learn_rejection
    from cnn_cli.nn.backends import backend_for
    from cnn_cli.system import cpu_count

    if folder is not None and not folder_has_parts(classifier, folder):
        folder = None
    train = find_images(NAME, classifier, folder, "train")
    kernels = backend or backend_for(len(train))
    found = learn_rejection(classifier, train, val, share, threads or cpu_count(), kernels)
    output.say(
        f"cnn: {classifier.path}: refuses {found.refused:,} of {found.images:,} validation images"
    )
    return found
