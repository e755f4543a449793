"""`train`: choose the run folder, then start a training or resume it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from cnn_cli.config import Config, plain_config, validate_config
from cnn_cli.data.content import content_digest
from cnn_cli.errors import CnnError, ConfigError, UsageError
from cnn_cli.parallel.alike import check_alike
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.portable import return_free_memory
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint
from cnn_cli.runs.folder import (
    RESUMABLE,
    RunFolder,
    choose_folder,
    differences,
    flat,
    folds_in,
    holds_sweep,
)
from cnn_cli.runs.results import TrainResult
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.agreement import Agreement
from cnn_cli.training.initial_weights import weights_file
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests, StopNow
from cnn_cli.training.session import open_session
from cnn_cli.training.setup import prepare
from cnn_cli.training.trainer import Trainer


def train(
    config: Config,
    source: str,
    options: TrainOptions,
    requests: Requests,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> TrainResult:
    """Train a network and save it into its run folder.

    With several ranks, each calls this, and only rank 0 writes.

    Args:
        config: the config.
        source: the config's file, which names the run and appears in messages.
        options: options of the command line.
        requests: checked after each step.
        progress: receives reports on each step and epoch.
        ranks: the ranks that train together.

    Raises:
        CnnError: any of its kinds; files saved before stay unchanged.
    """
    with requests.at_once():
        check_given(config, source, options, ranks)
        folder = ranks.first(
            lambda: choose_folder(
                options.out, source, resume=options.resume, overwrite=options.overwrite
            )
        )
        ranks.first(lambda: check_alone(folder, options))
    writes, alone = ranks.rank == 0, ranks.size == 1
    if options.resume:
        with requests.at_once():
            finished = ranks.first(lambda: _finished(folder, config, source, options, progress))
        if finished is not None:
            return finished
    with RunFolder(folder) if writes else nullcontext(RunFolder(folder)) as run:
        checkpoint = None
        state = TrainingState()
        bad_files: Mapping[str, str] = {}
        try:
            with requests.at_once():
                if options.resume:
                    checkpoint = ranks.first(lambda: _load_last(run, config, source))
                if checkpoint is not None:
                    state = TrainingState.from_meta(checkpoint.meta, str(run.last))
                    bad_files = checkpoint.meta.get("bad_files", {})
                    config = with_own_weights(config, checkpoint.meta, progress.note)
                    if writes:  # a kill may have come between the files
                        run.write_reports(state.rows, state.log)
                    if state.finished(options.epochs(config)):
                        return state.result(run.path, config.train, bad_files, None)
                if writes:
                    run.check_writable()
                meta = {} if checkpoint is None else checkpoint.meta
                return_free_memory()  # of a training before it: it counts as used
                setup = prepare(config, source, options, meta, ranks)
                asked = requests if alone else Agreement(requests, ranks)
                trainer = Trainer(open_session(setup, run, checkpoint, progress, asked))
                checkpoint = None  # the trainer owns its arrays now
        except StopNow as stop:  # nothing was done that could be saved
            if not alone:  # a rank without a request waits for the ranks that stop
                raise
            return state.result(run.path, config.train, bad_files, stop.reason)
        if options.overwrite and writes:
            run.clear()  # from here on, only the training itself can fail
        try:
            return trainer.run_epochs()
        finally:
            trainer.close()


def check_alone(folder: Path, options: TrainOptions) -> None:
    """Refuse to resume a run of folds or a sweep as one run.

    Raises:
        UsageError: the folder contains one.
    """
    if options.resume and (folds := folds_in(folder)):
        rule = f"{folder} holds a run of folds; continue it with --folds"
        raise UsageError("--resume", rule, f"none, beside {folds[-1].name}")
    if options.resume and holds_sweep(folder):
        raise UsageError("--resume", f"{folder} holds a sweep; continue it with cnn sweep")


def check_given(config: Config, source: str, options: TrainOptions, ranks: Ranks) -> None:
    """Refuse ranks that were started differently.

    Raises:
        ConfigError: the ranks have different configs, options or initial weights.
    """
    given: dict[str, Any] = dict(flat(plain_config(config)))
    for name in ("out", "overwrite", "resume", "backend"):
        given[f"--{name}"] = getattr(options, name)
    given["--fail-under"] = [metric.text for metric in options.gates]
    if config.train.weights is not None and ranks.size > 1:
        with suppress(CnnError, OSError):  # training itself reports it
            given["train.weights"] = content_digest(str(weights_file(config.train.weights)), 16)
    check_alike(ranks, source, given)


def _load_last(run: RunFolder, config: Config, source: str) -> Checkpoint | None:
    return load_resumable(run.last, config, source) if run.last.exists() else None


def with_own_weights(
    config: Config, meta: Mapping[str, Any], note: Callable[[str], None]
) -> Config:
    """Return the config with the run's own `train.weights`, which a resumed run no longer reads.

    Args:
        meta: metadata of the run's checkpoint.
        note: told if the config names others.
    """
    weights = meta["config"]["train"].get("weights")
    if weights == config.train.weights:
        return config
    note("train.weights: ignored, since a resumed run continues from its own weights")
    return config.with_keys("train", weights=weights)


def _finished(
    folder: Path, config: Config, source: str, options: TrainOptions, progress: Progress
) -> TrainResult | None:
    """Return the result of a run with nothing left to do, without writing or locking; else None.

    Also None if the run cannot be resumed, which is reported once it is locked, or if a kill came
    between the last checkpoint and the files made from it.
    """
    run = RunFolder(folder)
    try:
        meta = load_resumable(run.last, config, source, ()).meta
        state = TrainingState.from_meta(meta, str(run.last))
    except CnnError:
        return None
    if not state.finished(options.epochs(config)):
        return None
    if run.is_writable() and not run.has_reports(state.rows, state.log):
        return None
    with_own_weights(config, meta, progress.note)
    return state.result(run.path, config.train, meta.get("bad_files", {}), None)


def load_resumable(
    path: Path, config: Config, source: str, groups: Collection[str] | None = None
) -> Checkpoint:
    """Read a run's checkpoint; refuse to resume it with another config.

    Args:
        path: the checkpoint.
        config: the config to resume with.
        source: the config's file, for messages.
        groups: groups of arrays to read; by default all.

    Raises:
        ConfigError: the configs differ in more than a resumed run may change.
        DataError: the checkpoint is damaged.
    """
    checkpoint = load_checkpoint(path, groups)
    # Through the models, so that keys added since get their defaults.
    before = plain_config(validate_config(checkpoint.meta["config"], str(path)))
    keys = differences(before, plain_config(config), RESUMABLE)
    if keys:
        rule = "a resumed run keeps its config; only train.epochs and limits may change"
        raise ConfigError(source, rule, f"another {', '.join(keys)}")
    return checkpoint
