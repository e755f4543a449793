"""`cnn sweep`: random search with successive halving; each trial is an ordinary run.

The rungs of a trial are the first epochs of its full schedule: a promoted trial is resumed, and a
trial that reaches the end equals a run of its config alone. `sweep_state` decides what is next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cnn_cli.config import Config, plain_config
from cnn_cli.config.load import ConfigFile
from cnn_cli.config.search import parse_space
from cnn_cli.data.dataset import Split
from cnn_cli.data.image_error import ImageError
from cnn_cli.errors import ConfigError, DataError, DivergedError, UsageError, listed, none_readable
from cnn_cli.parallel.alike import check_alike
from cnn_cli.parallel.ranks import ALONE, Ranks
from cnn_cli.runs.folder import choose_folder, holds_run, holds_sweep
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Progress
from cnn_cli.training.requests import Requests, StopNow
from cnn_cli.training.setup import TrainingSetup, prepare, set_up
from cnn_cli.training.several import FINAL, Trainings, locked_folder
from cnn_cli.training.sweep_state import BUDGET, Job, SweepResult, SweepState
from cnn_cli.training.trials import Candidates

TRIALS_WITHOUT_BUDGET = 27
UNREADABLE = "must have a validation image that can be read, to compare trials"


def sweep(
    source: str,
    words: Sequence[str],
    settings: Mapping[str, Any],
    options: TrainOptions,
    trials: int | None,
    budget: float | None,
    requests: Requests,
    progress: Callable[[str], Progress],
    ranks: Ranks = ALONE,
) -> SweepResult:
    """Train trials, promote the best, and write a config with the values of the best one.

    The runs are `trial-1`, `trial-2` and so on in the sweep's folder, which stays locked.

    Args:
        source: the config's file.
        words: the search space, and overrides for all trials: see `parse_space`.
        settings: values by dotted key, for all trials.
        options, requests, ranks: as in `train`.
        trials: the largest number of trials; by default unlimited with a budget, and
            `TRIALS_WITHOUT_BUDGET` without one.
        budget: seconds of this session and of training in earlier ones; None for no limit.
        progress: makes a progress display for each training, which shows the metric of that name.

    Raises:
        CnnError: any of its kinds; files saved before stay unchanged.
    """
    started = time.monotonic()
    if trials is None and budget is None:
        trials = TRIALS_WITHOUT_BUDGET
    with requests.at_once():
        file = ConfigFile.read(source)
        space, overrides = parse_space(words)
        if not space:
            got = f"only {listed(words)}" if words else "nothing to search"
            raise UsageError("sweep", "needs KEY=LOW..HIGH or KEY=a,b,c", got)
        base = file.config(overrides, settings)
        watcher = partial(progress, base.train.monitored.text)
        trainings = Trainings(source, options, requests, watcher, ranks)
        typed = [each.typed for each in space]
        check_alike(
            ranks, source, {"config": plain_config(base), "search": [*typed, trials, budget]}
        )
        folder = ranks.first(lambda: _choose_folder(options, source))
        setup = prepare(base, source, options, {}, ranks)
        validated = _validated(setup, source)
        check = partial(_check, setup, source, options)
        candidates = Candidates(file, overrides, settings, space, check, trainings.note)
        candidates.space = ranks.first(lambda: _checked(candidates))
    with locked_folder(folder, ranks) as run:
        state = SweepState(candidates, typed, run, trials)
        try:
            with requests.at_once():
                spent = ranks.first(lambda: state.open(source, setup))
            if budget is not None:
                requests.deadline = started + budget - spent
            stopped: str | None = _train_trials(state, candidates, trainings, validated)
        except StopNow as stop:
            if ranks.size > 1:  # see `train`
                raise
            stopped = stop.reason
        return state.result(BUDGET if stopped == "time limit" else stopped)


def _train_trials(
    state: SweepState, candidates: Candidates, trainings: Trainings, validated: Split
) -> str | None:
    """Train trials until nothing is left; return the reason for stopping early, or None.

    Args:
        validated: the validation images.

    Raises:
        DataError: no validation image can be read.
    """
    requests, ranks = trainings.requests, trainings.ranks
    while True:
        with requests.at_once():
            job = ranks.first(lambda: state.next_job(requests))
        if not isinstance(job, Job):
            return job
        failed = stopped = None
        began = time.monotonic()
        try:
            config = candidates.config(job.words)
            result = trainings.train(config, state.place(job.number), job.title, job.until)
            stopped = None if result.stopped in FINAL else result.stopped
            if result.best is not None and result.best.val_top1 is None:
                paths = validated.paths
                errors = (
                    ImageError(path, result.bad_files[path])
                    for path in paths
                    if path in result.bad_files
                )
                raise none_readable(config.data.root, len(paths), errors, UNREADABLE)
        except DivergedError as error:
            failed = error.line()
            trainings.note(f"trial {job.number}: {failed}")
        ranks.first(partial(state.take, job, failed, time.monotonic() - began))
        if stopped is not None:
            return stopped


def _checked(candidates: Candidates) -> Any:
    candidates.check_values()
    return candidates.space


def _choose_folder(options: TrainOptions, source: str) -> Path:
    """Return the sweep's folder: `--out`, else `runs/<config name>-sweep`, then `-2` and so on.

    Raises:
        UsageError: it contains a run of another kind, or a sweep, without `--resume`.
    """
    if options.out is None:
        name = f"{Path(source).resolve().stem}-sweep.yaml"
        folder = choose_folder(None, name, resume=options.resume, overwrite=False)
    else:
        folder = options.out
    if holds_run(folder) and not holds_sweep(folder):
        raise UsageError(f"--out {folder}", "holds a run, not a sweep; give another folder")
    if holds_sweep(folder) and not options.resume:
        raise UsageError(f"--out {folder}", "holds a sweep; give --resume to continue it")
    return folder


def _validated(setup: TrainingSetup, source: str) -> Split:
    """Return the validation images; refuse set-ups in which trials have no value to compare.

    Raises:
        ConfigError: there are no epochs.
        DataError: there are no validation images.
    """
    if setup.config.train.epochs == 0:
        raise ConfigError(f"{source}: train.epochs", "must be 1 or more, for trials to differ", 0)
    if setup.dataset.val is None or not len(setup.dataset.val):
        rule = "must have validation images, to compare trials"
        raise DataError(setup.dataset.root, rule)
    return setup.dataset.val


def _check(setup: TrainingSetup, source: str, options: TrainOptions, config: Config) -> None:
    """Refuse a config that cannot be trained, as `train` would before its first step.

    Args:
        setup: the set-up of another config for the same images.

    Raises:
        CnnError: it does not fit the images, the memory or its initial weights.
    """
    set_up(config, source, options, {}, setup.ranks, setup.dataset, setup.data_facts)
