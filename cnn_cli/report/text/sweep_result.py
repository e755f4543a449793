"""The result of a sweep, as text and JSON."""

from __future__ import annotations

from shlex import quote
from typing import Any

from cnn_cli.report.text.numbers import number
from cnn_cli.report.text.table import format_pairs, format_table
from cnn_cli.report.text.training_result import AGAIN, RESUMABLE, best_text
from cnn_cli.runs.folder import BEST_CONFIG, TRIALS
from cnn_cli.training.sweep_state import SweepResult
from cnn_cli.training.trials import Trial

ROWS = 20  # of the table; the file contains all


def sweep_dict(result: SweepResult) -> dict[str, Any]:
    """Return what `cnn sweep --json` prints, with the trials in order."""
    best = result.best
    return {
        "run": str(result.run),
        "monitor": result.monitor.text,
        "rungs": list(result.rungs),
        "stopped": result.stopped,
        "best": None if best is None else best.number,
        "own": None if result.own is None else result.own.number,
        "config": None if best is None else str(result.run / BEST_CONFIG),
        "seconds": round(sum(trial.seconds for trial in result.trials), 3),
        "trials": [_trial_dict(trial, result) for trial in result.trials],
    }


def _trial_dict(trial: Trial, result: SweepResult) -> dict[str, Any]:
    best = trial.best
    return {
        "trial": trial.number,
        "run": str(trial.run),
        "status": trial.status,
        "epochs": trial.epochs,
        "best_epoch": None if best is None else best.epoch,
        result.monitor.column: None if best is None else best.value(result.monitor),
        "val_loss": None if best is None else best.val_loss,
        "values": trial.values,
    }


def sweep_text(result: SweepResult) -> str:
    """Return a short text with a table of the best trials, and the next commands."""
    pairs = [("run", str(result.run))] if result.run.exists() else []
    pairs.append(("trials", _trials_text(result)))
    if result.stopped is not None:
        pairs.append(("stopped", result.stopped))
    best, own = result.best, result.own
    if best is not None and best.best is not None:
        pairs.append(("best", f"trial {best.number}: {best_text(best.best, result.monitor)}"))
        if own is not None and own.best is not None and own is not best:
            said = f"trial {own.number}, to epoch {own.epochs}: "
            pairs.append(("config's own", said + best_text(own.best, result.monitor)))
        pairs.append(("config", str(result.run / BEST_CONFIG)))
    seconds = sum(trial.seconds for trial in result.trials)
    pairs.append(("time", f"{seconds:.1f} s"))
    next_lines = [AGAIN] if result.stopped in RESUMABLE and result.run.exists() else []
    if best is not None:
        next_lines += [f"cnn eval --ckpt {quote(str(best.run))}"] * best.finished
        next_lines.append(f"cnn train {quote(str(result.run / BEST_CONFIG))}")
    pairs += zip(("next", "", ""), next_lines, strict=False)
    return format_pairs(pairs) + ("" if best is None else f"\n{_table(result)}")


def _trials_text(result: SweepResult) -> str:
    """Return `27: 9 to epoch 4, 3 to epoch 12; 2 diverged`."""
    parts = []
    for rung, epochs in enumerate(result.rungs, 1):
        came = sum(len(trial.scores) - bool(trial.failed) >= rung for trial in result.trials)
        if came:
            parts.append(f"{came} to epoch {epochs}")
    failed = sum(trial.failed is not None for trial in result.trials)
    text = f"{len(result.trials)}{': ' * bool(parts)}{', '.join(parts)}"
    return f"{text}; {failed} diverged" if failed else text


def _table(result: SweepResult) -> str:
    metric, loss = result.monitor.text, result.monitor.name == "loss"
    header = ["trial", "epochs", metric, *([] if loss else ["loss"]), *result.keys]
    rows = []
    for trial in result.ranking[:ROWS]:
        best = trial.best
        value = None if best is None else best.value(result.monitor)
        losses = [] if loss else [number(None if best is None else best.val_loss)]
        cells = [str(trial.number), str(trial.epochs), number(value)]
        rows.append([*cells, *losses, *trial.words.values()])
    table = format_table(header, rows, "r" * len(header))
    more = len(result.trials) - len(rows)
    return table + (f"and {more} more: {result.run / TRIALS}\n" if more else "")
