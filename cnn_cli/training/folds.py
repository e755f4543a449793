"""`cnn train --folds`: train one network per fold, one after another, each as an ordinary run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnn_cli.config import Config
from cnn_cli.data.folds import Fold
from cnn_cli.errors import ConfigError, DataError, UsageError
from cnn_cli.inference.evaluate import Watch
from cnn_cli.inference.evaluate_files import EvaluationOptions
from cnn_cli.inference.out_of_fold import OutOfFold, load_folds, predict_out_of_fold
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.checkpoint import BEST, LAST, load_checkpoint
from cnn_cli.runs.folder import (
    OUT_OF_FOLD,
    choose_folder,
    fold_folder,
    folds_in,
    holds_sweep,
)
from cnn_cli.runs.results import TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests, StopNow
from cnn_cli.training.resumed_data import change_since, data_facts, receipt_of
from cnn_cli.training.setup import open_images, prepare
from cnn_cli.training.several import FINAL, Trainings, locked_folder
from cnn_cli.training.train import check_given, load_resumable


@dataclass(frozen=True, slots=True, eq=False)
class FoldsResult:
    """The result of training all folds.

    Attributes:
        run: the folder that contains the folds' runs.
        count: number of folds.
        folds: results of the folds that were begun, in order.
        stopped: None if all are complete, else the reason for stopping early, a `StopReason`.
        predictions: out-of-fold predictions; None if a fold is incomplete, and on ranks other than
            0.
    """

    run: Path
    count: int
    folds: list[TrainResult]
    stopped: str | None
    predictions: OutOfFold | None


def train_folds(
    config: Config,
    source: str,
    count: int,
    options: TrainOptions,
    requests: Requests,
    progress: Callable[[], Progress],
    watch: Watch,
    ranks: Ranks = ALONE,
) -> FoldsResult:
    """Train a network for each fold, and predict each image with the network that was not trained
    on it.

    The runs are `fold-1`, `fold-2` and so on in the run folder, which stays locked.

    Args:
        config, source, options, requests, ranks: as in `train`; `data.val_split` is not used.
        count: number of folds, at least 2.
        progress: makes a progress display for each fold.
        watch: shows the progress of the predictions.

    Raises:
        DataError: the images changed since a fold was trained.
        CnnError: any other kind; files saved before stay unchanged.
    """
    configs = fold_configs(config, source, count)
    with requests.at_once():
        check_given(config, source, options, ranks)
        folder = ranks.first(
            lambda: choose_folder(
                options.out, source, resume=options.resume, overwrite=options.overwrite
            )
        )
        ranks.first(lambda: check_folder(folder, count, options))
        if options.overwrite:  # every check comes before anything is deleted
            prepare(configs[0], source, options, {}, ranks)
    results: list[TrainResult] = []
    trainings = Trainings(source, options, requests, progress, ranks)
    with locked_folder(folder, ranks, overwrite=options.overwrite) as run:
        try:
            with requests.at_once():
                ranks.first(lambda: check_images(folder, configs, source))
            for number, own in enumerate(configs, 1):
                place = fold_folder(folder, number)
                result = trainings.train(own, place, f"fold {number} of {count}")
                results.append(result)
                if result.stopped not in FINAL:
                    return FoldsResult(folder, count, results, result.stopped, None)
            ranks.first(lambda: None)  # which has the last fold's files to write
            with requests.at_once():
                classifiers = load_folds(folder)
                shown = EvaluationOptions(
                    threads=options.threads, backend=options.backend, job=ranks, watch=watch
                )
                predictions = predict_out_of_fold(classifiers, shown)
        except StopNow as stop:
            if ranks.size > 1:  # see `train`
                raise
            return FoldsResult(folder, count, results, stop.reason, None)
        if ranks.rank:
            return FoldsResult(folder, count, results, None, None)
        run.write(OUT_OF_FOLD, predictions.as_csv())
    return FoldsResult(folder, count, results, None, predictions)


def fold_configs(config: Config, source: str, count: int) -> list[Config]:
    """Return the config of each fold's run.

    Raises:
        ConfigError: the config already names one fold of several.
    """
    if config.data.fold is not None:
        rule = "must not be there with --folds, which trains each of them"
        raise ConfigError(f"{source}: data.fold", rule, config.data.fold)
    folds = [Fold(number, count) for number in range(1, count + 1)]
    return [config.with_keys("data", fold=str(fold)) for fold in folds]


def check_images(folder: Path, configs: list[Config], source: str) -> None:
    """Refuse to resume folds after their images changed.

    The images are dealt to the folds by content, so that a network could be given images to predict
    on which it was trained.

    Raises:
        DataError: they changed since a fold was trained, or between its sessions.
    """
    for number, config in enumerate(configs, 1):
        place = fold_folder(folder, number)
        if not (place / LAST).exists():
            continue
        meta = load_resumable(place / LAST, config, source, ()).meta
        dataset = open_images(config, source, meta)
        changed = change_since(meta, data_facts(dataset), receipt_of(config, dataset), place)
        if changed is not None:
            rule = (
                f"the images must be those that {place.name} was trained with, so that no network "
                "predicts images that it has seen; --overwrite trains all folds anew"
            )
            raise DataError(folder, rule, changed)


def check_folder(folder: Path, count: int, options: TrainOptions) -> None:
    """Refuse to resume a run of another kind or with another number of folds.

    Raises:
        UsageError: the folder contains such a run.
    """
    if options.overwrite:
        return
    if any((folder / name).exists() for name in (LAST, BEST)) or holds_sweep(folder):
        kind = "a sweep" if holds_sweep(folder) else "a run without folds"
        raise UsageError("--folds", f"{folder} holds {kind}; give another --out")
    for place in folds_in(folder):
        if (place / LAST).exists():
            meta = load_checkpoint(place / LAST, ()).meta
            fold = Fold.parse(str(meta["config"].get("data", {}).get("fold")))
            if fold is not None and fold.count != count:
                raise UsageError("--folds", f"{folder} holds a run of {fold.count} folds", count)
