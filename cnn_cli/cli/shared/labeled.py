"""Find labeled images named on the command line, and evaluate a network on them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import watched
from cnn_cli.cli.shared.parameters import Option
from cnn_cli.errors import DataError, UsageError, none_readable
from cnn_cli.parallel.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from cnn_cli.data.dataset import Split
    from cnn_cli.data.image_error import ImageError
    from cnn_cli.data.label_table import ColumnsConfig
    from cnn_cli.inference.classifier import Classifier
    from cnn_cli.inference.evaluate import AnyEvaluation
    from cnn_cli.inference.evaluate_files import EvaluationOptions

    Bad = dict[int, ImageError]

SPLITS = ("train", "val", "test", "all")


def split_option(default: str = "") -> Any:
    """Return the option `--split`; `default` describes the default if its value does not."""
    return Option(
        "--split",
        parser=values.OneWord(SPLITS),
        help=f"The part to evaluate. A DIR without parts is evaluated as a whole.{default}",
    )


def find_images(
    command: str, classifier: Classifier, folder: Path | None, split: str, wanted: str = "DIR"
) -> Split:
    """Return a part of the folder, or of the model's own data set.

    Args:
        command: the command, for messages.
        classifier: the classifier.
        folder: class folders, or parts with class folders.
        split: one of `SPLITS`.
        wanted: the folder's name in the usage, for messages.

    Raises:
        UsageError: there is no folder, and the checkpoint names none.
        DataError: there are no images, or a class that the model does not know.
    """
    import numpy as np

    from cnn_cli.data.dataset import Split
    from cnn_cli.data.opening import open_labeled
    from cnn_cli.inference.evaluate_files import own_dataset

    if folder is not None:
        part = cast("Literal['train', 'val', 'test', 'all']", split)
        form = _list_form(classifier, folder)
        return open_labeled(folder, classifier.classes, part, output.note, *form)
    data = classifier.config.data
    if data.root is None:
        rule = f"needs {wanted}: the checkpoint does not say where its images are"
        raise UsageError(command, rule)
    if not classifier.agrees_on(split):
        rule = f"needs {wanted}: what one of the networks is validated on, others were trained on"
        raise UsageError(command, rule)
    dataset = own_dataset(classifier)
    for remark in dataset.remarks:
        output.note(remark)
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    found = {name: part for name, part in parts.items() if part is not None and len(part)}
    if split == "all":
        return Split(
            [path for part in found.values() for path in part.paths],
            np.concatenate([part.labels for part in found.values()]),
        )
    if split not in found:
        raise DataError(
            data.root, f"must have images for --split {split}", f"{', '.join(found)} only"
        )
    return found[split]


def note_training_images(
    classifiers: Iterable[Classifier], images: Split, folder: Path | None, split: str
) -> None:
    """Note how many images of a folder each network was trained on, by the receipt of its run.

    Args:
        classifiers: the classifiers that are evaluated on them.
        images: the result of `find_images`.
        folder, split: as in `find_images`; no note for the model's own data set, nor for a split
            that contains its training images.
    """
    import numpy as np

    from cnn_cli.data.content import content_hashes
    from cnn_cli.runs.receipt import Receipt

    if folder is None or split not in ("val", "test"):
        return
    hashes = None
    for file, meta in {one.path: one.meta for each in classifiers for one in each.networks}.items():
        try:
            receipt = Receipt.beside(file, meta)
        except DataError as error:  # the results need no receipt
            output.note(error.line())
            continue
        if receipt is None:
            continue
        if hashes is None:
            hashes = content_hashes(images.paths, folder).hashes
        if number := np.count_nonzero(receipt.trained_on(hashes)):
            output.note(
                f"{file}: was trained on {number:,} of the {len(images):,} images in {folder}"
            )


def folder_has_parts(classifier: Classifier, folder: Path) -> bool:
    """Whether a folder has parts to choose from; errors as in `find_images`."""
    from cnn_cli.data.roots import has_parts

    return has_parts(folder, classifier.classes, *_list_form(classifier, folder))


def _list_form(classifier: Classifier, folder: Path) -> tuple[ColumnsConfig | None, str | None]:
    """Return how a label list is read: its columns, as in the training, and the separator of
    labels.
    """
    from cnn_cli.data.label_table import is_list

    columns = classifier.config.data.columns if is_list(folder) else None
    return columns, None if classifier.several is None else classifier.several.separator


def evaluate_images(
    classifier: Classifier,
    images: Split,
    place: object,
    options: EvaluationOptions,
    *,
    calibrate: bool = False,
) -> tuple[AnyEvaluation, Bad]:
    """Evaluate images; return the evaluation and the errors of unreadable images.

    Errors are reported on stderr. Ranks other than 0 have only their own results.

    Args:
        classifier, images, options, calibrate: as in `evaluate_files`.
        place: the folder of the images, for messages.

    Raises:
        DataError: no image could be read, or logits to be kept do not fit into memory.
    """
    from cnn_cli.inference.evaluate_files import evaluate_files

    evaluation, bad = evaluate_files(classifier, images, options, calibrate=calibrate)
    if options.job.rank == 0:
        _tell(bad, len(evaluation.labels), place)
    return evaluation, bad


def shown_by(
    batch_size: int,
    threads: int | None,
    backend: str | None,
    job: Ranks = ALONE,
) -> EvaluationOptions:
    """Return evaluation options with notes and a bar on stderr; arguments as in
    `EvaluationOptions`.
    """
    from cnn_cli.inference.evaluate_files import EvaluationOptions

    return EvaluationOptions(batch_size, threads, backend, job, output.note, watched)


def _tell(bad: Bad, images: int, place: object) -> None:
    """Report unreadable images.

    Raises:
        DataError: there were no others.
    """
    for error in bad.values():
        output.say(f"cnn: {error.line()}")
    if not images:
        raise none_readable(place, len(bad))
