"""Evaluate a classifier on labeled image files, with threads and ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cnn_cli.data.cache import ImageCache
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.image_error import ImageError
from cnn_cli.data.label_table import is_list
from cnn_cli.data.listing import frames_text
from cnn_cli.data.loader import Loader
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.shards import bounds
from cnn_cli.errors import DataError, size_text
from cnn_cli.inference.classifier import Classifier
from cnn_cli.inference.evaluate import (
    AnyEvaluation,
    Evaluation,
    Watch,
    evaluate,
    evaluate_labels,
    logits_can_be_kept,
)
from cnn_cli.inference.scorer import Scorer
from cnn_cli.inference.several_labels import LabelsEvaluation
from cnn_cli.nn.backends import backend_for
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.meta import split_rule
from cnn_cli.system import check_memory, cpu_count

T = TypeVar("T")


def own_dataset(classifier: Classifier, root: Path | None = None) -> Dataset:
    """Return the data set with which a classifier was trained.

    Args:
        classifier: the classifier, with its config.
        root: the current data root; None for the one in its config.

    Raises:
        DataError: its config names none, or the images are gone.
    """
    data = classifier.config.data
    if root is None and data.root is None:
        raise DataError(classifier.path, "does not say where its images are")
    place = Path(data.root or "") if root is None else root
    return open_dataset(
        place,
        classifier.classes,
        data.val_split,
        columns=data.columns if root is None or is_list(root) else None,
        separator=data.separator,
        test_split=data.test_split,
        group=data.group,
        rule=split_rule(classifier.meta),
        fold=data.fold,
    )


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How to evaluate a classifier.

    Attributes:
        batch_size: number of images per batch.
        threads: worker threads; None for this rank's share of the cores.
        backend: the backend; None for the fastest for this number of images.
        job: the ranks that share the images.
        note: receives notes for the user.
        watch: displays progress.
    """

    batch_size: int = 64
    threads: int | None = None
    backend: str | None = None
    job: Ranks = ALONE
    note: Callable[[str], None] = lambda _: None
    watch: Watch | None = None


def evaluate_files(
    classifier: Classifier, images: Split, options: EvaluationOptions, *, calibrate: bool = False
) -> tuple[AnyEvaluation, dict[int, ImageError]]:
    """Evaluate images; return the evaluation, and the errors of unreadable ones by position.

    Rank 0 has the results of all ranks, the others only their own. Logits are kept with several
    labels, and otherwise if `logits_can_be_kept`.

    Args:
        classifier: the classifier.
        images: the images.
        options: how to evaluate them.
        calibrate: keep the logits in any case, and ignore the checkpoint's temperature.

    Raises:
        DataError: the logits must be kept and do not fit into memory.
    """
    temperature = 1.0 if calibrate else classifier.temperature
    keep = _keeps_logits(classifier, len(images), options, calibrate=calibrate)
    watch = options.watch

    def ask(scorer: Scorer, loader: Loader, places: slice) -> Evaluation:
        return evaluate(scorer, loader, None, places, watch, temperature, keep)

    def ask_labels(scorer: Scorer, loader: Loader, places: slice) -> LabelsEvaluation:
        return evaluate_labels(scorer, loader, None, places, watch, temperature)

    if classifier.several is None:
        parts, bad = _parts(classifier, images, options, ask)
        return Evaluation.joined(parts), bad
    of_labels, bad = _parts(classifier, images, options, ask_labels)
    return LabelsEvaluation.joined(of_labels), bad


def _parts(
    classifier: Classifier,
    images: Split,
    options: EvaluationOptions,
    ask: Callable[[Scorer, Loader, slice], T],
) -> tuple[list[T], dict[int, ImageError]]:
    """Call `ask` for each rank's images; rank 0 gets all results in order, others their own."""
    job, note = options.job, options.note
    threads = options.threads or job.threads(cpu_count())
    backend = options.backend or backend_for(len(images))
    cache = ImageCache.open("none", images.paths, classifier.decoding)
    loader = Loader(images, cache, options.batch_size, threads)
    with classifier.scorer(threads, backend, note) as scorer:
        own = ask(scorer, loader, bounds(len(images), job.rank, job.size))
    if cache.several:
        note(frames_text(cache.several))
    found = job.bring((own, dict(sorted(cache.bad.items()))))
    if not found:
        return [own], cache.bad
    bad = {i: error for _, some in found for i, error in some.items()}
    return [part for part, _ in found], bad


def _keeps_logits(
    classifier: Classifier, images: int, options: EvaluationOptions, *, calibrate: bool
) -> bool:
    """Whether to keep all logits; notes it if they are not kept.

    Raises:
        DataError: they must be kept, and there is no room.
    """
    job, need = options.job, _logits_bytes(classifier, images, options.job)
    if calibrate or classifier.several is not None:
        what = "--calibrate" if calibrate else "data.labels multiple"
        rule = "keeps the scores of all images, which need more memory than there is"
        job.first(lambda: check_memory(need, what, rule))
        return True
    keep = job.first(lambda: logits_can_be_kept(need))
    if not keep and job.rank == 0:
        options.note(
            f"auc and average_precision are left empty: they need the scores of all images, "
            f"which take {size_text(need)}"
        )
    return keep


def _logits_bytes(classifier: Classifier, images: int, job: Ranks) -> int:
    """Return the bytes of all logits, doubled if they are gathered from ranks."""
    numbers = images * len(classifier.classes) * (2 if job.size > 1 else 1)
    return numbers * classifier.params.dtype.itemsize
