"""`cnn train`: train a network from a config, and save it in a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import unwatched, watched, watcher
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.folds import check_folds, parse_folds
from cnn_cli.cli.shared.gates import NOT_DEFINED, Gate, gate
from cnn_cli.cli.shared.options import (
    ConfigFile,
    Data,
    Debug,
    Json,
    Memory,
    Overwrite,
    Resume,
    RunFolder,
    TimeLimit,
    backend_option,
)
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.cli.shared.stops import ENDS, requests_from_signals
from cnn_cli.cli.shared.together import load_for_all, ranks
from cnn_cli.errors import ExitCode, GateError, LockedError, reason
from cnn_cli.training.requests import Requests, StopNow

if TYPE_CHECKING:
    from cnn_cli.config import Config
    from cnn_cli.metric_names import Metric
    from cnn_cli.runs.results import TrainResult
    from cnn_cli.training.folds import FoldsResult
    from cnn_cli.training.options import TrainOptions
    from cnn_cli.training.planning import TrainingPlan


@command(
    "train",
    order=20,
    ranks=True,
    examples=(
        "cnn train configs/small.yaml",
        "cnn train configs/small.yaml --data photos train.epochs=3 data.image_size=64",
        "cnn train configs/small.yaml --resume --time-limit 25m --quiet",
        "cnn train configs/small.yaml --folds 5 --time-limit 2h",
    ),
)
def run(
    config: ConfigFile,
    overrides: Annotated[
        list[str] | None,
        Argument(
            metavar="[KEY=VALUE]...",
            parser=values.override,
            help="Override keys of the config, for example train.epochs=3.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    out: RunFolder = None,
    overwrite: Overwrite = False,
    epochs: Annotated[
        int | None,
        Option("--epochs", metavar="N", parser=values.whole(), help="Overrides train.epochs."),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            "--batch-size",
            "-b",
            metavar="N",
            parser=values.whole(1),
            help="Overrides train.batch_size.",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        Option(
            "--lr",
            metavar="X",
            parser=values.number(),
            help="Overrides train.optimizer.lr; with muon, the rate of `other` stays.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        Option(
            "--seed",
            metavar="N",
            parser=values.whole(below=2**63),
            help="Overrides train.seed.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        Option(
            "--folds",
            metavar="K",
            parser=parse_folds,
            help="Cross-validate: train K networks, each validated on a different part of "
            "the images.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        Option(
            "--threads",
            metavar="N",
            parser=values.whole(1, below=4097),
            help="Number of threads. Default: the cores that this process may use; with "
            "--resume, the run's own.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        backend_option("fast if numba is installed; with --resume, the run's own"),
    ] = None,
    resume: Resume = False,
    weights: Annotated[
        Path | None,
        Option(
            "--weights",
            metavar="CKPT|NAME",
            parser=values.path,
            help="Start from a checkpoint's weights, or from pretrained weights by name "
            "(cnn import --list).",
        ),
    ] = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    dry_run: Annotated[
        bool,
        Option("--dry-run", help="Check config, data and memory without training."),
    ] = False,
    fail_under: Annotated[
        list[Gate] | None,
        Option(
            "--fail-under",
            metavar="METRIC=BOUND",
            parser=gate(topk=False),
            help="Exit with 6 if a metric of the best epoch, such as top1 or recall:CLASS, "
            "is below the bound (loss, brier, ece: above it). May be repeated.",
        ),
    ] = None,
    quiet: Annotated[
        bool, Option("--quiet", help="Print only errors; no result, even with --json.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network from a config, and save it in a run folder.

    SIGINT, SIGTERM, SIGHUP and SIGXCPU save and stop; SIGUSR1 saves and continues. --resume
    continues a stopped run.
    """
    check_folds(folds, overrides or [])
    requests = Requests()
    if time_limit is not None:
        requests.deadline = time.monotonic() + time_limit
    settings: dict[str, Any] = {
        "data.root": None if data is None else str(data),
        "train.weights": None if weights is None else str(weights),
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.optimizer.lr": lr,
        "train.seed": seed,
    }
    # A dry run has nothing to save: signals end it like other commands.
    with nullcontext() if dry_run else requests_from_signals(requests, quiet):
        from cnn_cli.config import load_config
        from cnn_cli.parallel.alike import check_alike
        from cnn_cli.parallel.ranks import PlannedRanks
        from cnn_cli.training.folds import fold_configs
        from cnn_cli.training.options import TrainOptions
        from cnn_cli.training.planning import plan_training
        from cnn_cli.training.process_count import choose_processes

        gates = tuple(one.metric for one in fail_under or [])
        options = TrainOptions(out, overwrite, resume, threads, backend, gates, memory)

        def planned(loaded: Config) -> Config:
            return loaded if folds is None else fold_configs(loaded, config, folds)[0]

        def count(loaded: Config) -> int:
            chosen = choose_processes(planned(loaded), config, options, ranks())
            if chosen.why and not quiet:
                output.note(chosen.why)
            return chosen.count

        with requests.at_once():  # for files that may be pipes, and disks that may not answer
            loaded = load_for_all(
                partial(load_config, config, overrides or [], settings),
                (lambda _: 1) if dry_run else count,
            )
        # The exchanges that follow depend on them.
        check_alike(ranks(), config, {"--folds": folds, "--dry-run": dry_run})
        if dry_run:
            several = count(loaded)
            job = ranks() if several == 1 else PlannedRanks(several)
            plan = plan_training(loaded, config, options, job, folds)
            if not quiet:
                _print_plan(plan, json=json)
            return
        try:
            result = _train(loaded, config, folds, options, requests, quiet=quiet)
        except LockedError:
            if quiet:
                raise Exit(ExitCode.LOCKED) from None
            raise
        # The other ranks wait within the command: a signal to them does not stop rank 0's output.
        code, error = ranks().first(
            lambda: _finish(result, fail_under or [], requests, quiet=quiet, json=json)
        )
        if error is not None:
            raise error
        raise Exit(code)


def _print_plan(plan: TrainingPlan, *, json: bool) -> None:
    """Print what a training would do, for --dry-run."""
    from cnn_cli.report.text.training_plan import plan_lines

    for remark in plan.remarks:
        output.note(remark)
    if json:
        output.write_json(plan.as_dict())
    else:
        output.write_lines(plan_lines(plan))


def _train(
    config: Config,
    source: str,
    folds: int | None,
    options: TrainOptions,
    requests: Requests,
    *,
    quiet: bool,
) -> TrainResult | FoldsResult:
    """Train one network, or one per fold, with a bar or lines."""
    from cnn_cli.training.folds import train_folds
    from cnn_cli.training.train import train

    silent = quiet or ranks().rank > 0
    if folds is not None:
        watch = unwatched if silent else watched
        return train_folds(
            config,
            source,
            folds,
            options,
            requests,
            lambda: watcher(silent, config.train.monitor),
            watch,
            ranks(),
        )
    progress = watcher(silent, config.train.monitor)
    try:
        return train(config, source, options, requests, progress, ranks())
    finally:
        progress.close()


def _finish(
    result: TrainResult | FoldsResult,
    gates: Sequence[Gate],
    requests: Requests,
    *,
    quiet: bool,
    json: bool,
) -> tuple[int, GateError | None]:
    """Print the result and draw it; return the exit code, and the error of a gate."""
    from cnn_cli.report.text.folds_result import folds_dict, folds_text
    from cnn_cli.report.text.training_result import result_dict, result_text
    from cnn_cli.runs.results import TrainResult

    if isinstance(result, TrainResult):
        as_dict, as_text = partial(result_dict, result), partial(result_text, result)
        runs, reached = [result.run], partial(_best_value, result)
    else:
        as_dict, as_text = partial(folds_dict, result), partial(folds_text, result)
        runs, reached = [each.run for each in result.folds], partial(_mean_value, result)
    if not quiet and json:
        output.write_json(as_dict())
    elif not quiet:
        output.write(as_text())
    if result.stopped in ENDS:
        for run in runs[-1:]:
            draw_run(run, quiet=quiet)
        return ENDS[result.stopped], None
    try:
        with requests.at_once():  # --resume draws what is missing
            for run in runs:
                draw_run(run, quiet=quiet)
        for one in gates:
            one.check(*reached(one.metric))
    except StopNow as stop:
        return ENDS[stop.reason], None
    except GateError as error:
        return error.code, error
    return ExitCode.OK, None


def _best_value(result: TrainResult, metric: Metric) -> tuple[float | None, str]:
    """Return a metric of the best epoch, and the reason if there is none."""
    best = result.best
    if best is None or best.val_loss is None:
        return None, "none: no validation image was read"
    if metric.column not in best.as_dict():
        return None, "none: that epoch did not measure it; cnn eval does"
    return best.value(metric), NOT_DEFINED


def _mean_value(result: FoldsResult, metric: Metric) -> tuple[float | None, str]:
    """Return a metric's mean over the folds, and the reason if there is none."""
    found = None if result.predictions is None else result.predictions.spread(metric)
    return None if found is None else found.mean, NOT_DEFINED


def draw_run(path: Path, *, quiet: bool) -> None:
    """Draw the plots of a run folder, which is complete without them.

    Failures are only noted.
    """
    from cnn_cli.report.pictures.run_pictures import NAMES, draw_pictures

    try:
        draw_pictures(path)
    except LockedError:  # another process continues the run, and draws at its end
        pass
    except Exception as error:  # from matplotlib, its fonts and its settings, which are not ours
        if not quiet:
            output.note(f"{path}: {' and '.join(NAMES)} cannot be drawn: {reason(error)}")
