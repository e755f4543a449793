"""`cnn sweep`: search values for keys of a config by training with many of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cnn_cli.cli.shared import output, values
from cnn_cli.cli.shared.bars import watcher
from cnn_cli.cli.shared.commands import command
from cnn_cli.cli.shared.options import Backend, ConfigFile, Data, Debug, Json, Memory, Threads
from cnn_cli.cli.shared.parameters import Argument, Exit, Option
from cnn_cli.cli.shared.stops import ENDS, requests_from_signals
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import DivergedError, ExitCode
from cnn_cli.training.requests import Requests

if TYPE_CHECKING:
    from cnn_cli.training.sweep_state import SweepResult


@command(
    "sweep",
    order=68,
    ranks=True,
    examples=(
        "cnn sweep configs/small.yaml train.optimizer.lr=1e-3..1e-1 --budget 10m",
        "cnn sweep configs/small.yaml train.optimizer.type=sgd,adamw --trials 9 \\",
        "  --out runs/search",
        "cnn sweep configs/small.yaml train.optimizer.lr=1e-3..1e-1 --resume",
    ),
)
def run(
    config: ConfigFile,
    words: Annotated[
        list[str] | None,
        Argument(
            metavar="KEY=LOW..HIGH|KEY=a,b,c...",
            parser=values.override,
            help="The keys to search: a range of numbers, or a choice of values. KEY=VALUE applies "
            "to all trials.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        Option(
            "--trials",
            metavar="N",
            parser=values.whole(1),
            help="Number of trials. Default: 27, or as many as fit the budget.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        Option(
            "--budget",
            metavar="TIME",
            parser=values.duration,
            help="Total time, including that before --resume: 90s, 25m, 1h30m.",
        ),
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            "--out",
            metavar="DIR",
            parser=values.path,
            help="The sweep's folder. Default: runs/NAME-sweep, for NAME.yaml, then -2, …",
        ),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Continue the sweep in the folder, if there is one.")
    ] = False,
    memory: Memory = None,
    threads: Threads = None,
    backend: Backend = None,
    quiet: Annotated[
        bool, Option("--quiet", help="Print only errors; no result, even with --json.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search values for keys of a config: random search, halving.

    All trials have the same images, split and seed. After some epochs, the best third by
    train.monitor continues, up to the config's last epoch; the others, and trials that diverge,
    stop. best.yaml is the config of the best trial. SIGINT and SIGTERM save and stop; --resume
    continues.
    """
    requests = Requests()
    with requests_from_signals(requests, quiet):
        from cnn_cli.training.options import TrainOptions
        from cnn_cli.training.sweep import sweep

        options = TrainOptions(out, resume=resume, threads=threads, backend=backend, memory=memory)
        settings: dict[str, Any] = {"data.root": None if data is None else str(data)}
        silent = quiet or ranks().rank > 0
        result = sweep(
            config,
            words or [],
            settings,
            options,
            trials,
            budget,
            requests,
            lambda monitor: watcher(silent, monitor),
            ranks(),
        )
        code, error = ranks().first(lambda: _finish(result, quiet=quiet, json=json))
        if error is not None:
            raise error
        raise Exit(code)


def _finish(result: SweepResult, *, quiet: bool, json: bool) -> tuple[int, DivergedError | None]:
    """Print the result; return the exit code, and an error if every trial failed."""
    from cnn_cli.report.text.sweep_result import sweep_dict, sweep_text
    from cnn_cli.training.sweep_state import BUDGET

    if not quiet and json:
        output.write_json(sweep_dict(result))
    elif not quiet:
        output.write(sweep_text(result))
    if result.stopped in ENDS:
        return ENDS[result.stopped], None
    if result.best is not None:
        return ExitCode.OK, None
    if result.stopped == BUDGET:
        return ExitCode.STOPPED, None
    error = DivergedError(result.run, "every trial diverged; try smaller learning rates")
    return error.code, error
