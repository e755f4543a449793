"""The result of a training, as text and JSON."""

from __future__ import annotations

from shlex import quote
from typing import Any

from cnn_cli.errors import DataError
from cnn_cli.metric_names import VALIDATION, Metric
from cnn_cli.report.text.table import format_pairs
from cnn_cli.runs.checkpoint import BEST, LAST
from cnn_cli.runs.folder import CONFIG
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.runs.state import TrainingState
from cnn_cli.runs.stored_network import stored_config

RESUMABLE = ("time limit", "terminated", "interrupted")
AGAIN = "the same command with --resume"  # of several trainings, whose folder has no config


def result_dict(result: TrainResult) -> dict[str, Any]:
    """Return what `cnn train --json` prints; losses and metrics are those of the last epoch."""
    last = {} if result.last is None else result.last.as_dict()
    more = () if result.last is None else (VALIDATION + name for name in result.last.val)
    return {
        "run": str(result.run),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "monitor": result.monitor.text,
        **{key: last.get(key) for key in ("train_loss", "train_top1", "val_loss", "val_top1")},
        **{key: last[key] for key in more},
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
    }


def result_text(result: TrainResult) -> str:
    """Return a short text with the results, the files, and the next commands."""
    pairs = [("run", str(result.run))] if result.run.exists() else []
    pairs.append(("epochs", str(result.epochs)))
    if result.stopped is not None:
        pairs.append(("stopped", result.stopped))
    if result.last is not None:
        row = result.last
        pairs.append(("train", f"loss {row.train_loss:.4f}, top-1 {row.train_top1:.4f}"))
        if row.val_loss is not None and row.val_top1 is not None:
            pairs.append(("validation", f"loss {row.val_loss:.4f}, top-1 {row.val_top1:.4f}"))
    if result.best is not None:
        reached = best_text(result.best, result.monitor, last=result.keeps_last)
        word = "kept" if result.keeps_last else "best"
        pairs.append((word, f"{result.run / BEST} ({reached})"))
    elif result.epochs == 0:
        last = result.run / LAST
        pairs.append(("last", str(last) if last.exists() else "nothing was saved"))
    if result.bad_files:
        pairs.append(("bad files", f"{len(result.bad_files):,}: {result.run / 'bad_files.txt'}"))
    pairs.append(("time", f"{result.seconds:.1f} s"))
    pairs += zip(("next", ""), next_commands(result), strict=False)
    return format_pairs(pairs)


def best_text(best: EpochRow, monitor: Metric, *, last: bool = False) -> str:
    """Return the epoch in `best.npz` and its value of the monitored metric, if there is one.

    Args:
        best: its row.
        monitor: the monitored metric.
        last: whether it was kept because it is the last epoch.
    """
    value = best.value(monitor)
    reached = "" if value is None else f", validation {monitor.text} {value:.4f}"
    return f"{'last ' * last}epoch {best.epoch}{reached}"


def chosen_by(meta: dict[str, Any], place: str) -> str | None:
    """Return why a checkpoint's weights were selected; None if unknown.

    Args:
        meta: metadata of the checkpoint.
        place: its name, for messages.
    """
    try:
        state = TrainingState.from_meta(meta, place)
        train = stored_config(meta, place).train
    except DataError:  # weights from elsewhere
        return None
    best, monitor = state.best, train.monitored
    value = None if best is None else best.value(monitor)
    if best is None or value is None or state.batch or state.epoch != best.epoch:
        return None
    if train.keeps_last:
        return f"train.keep=last, epoch {best.epoch}"
    return f"validation {monitor.text} {value:.4f} in epoch {best.epoch}"


def next_commands(result: TrainResult) -> list[str]:
    """Return the command lines that are likely to come next."""
    run = quote(str(result.run))
    if result.stopped in RESUMABLE:
        if not (result.run / LAST).exists():
            return []  # it stopped before there was anything to save
        return [f"cnn train {quote(str(result.run / CONFIG))} --out {run} --resume"]
    if result.best is None:
        return []
    measured = result.best.val_top1 is not None
    first = f"cnn eval --ckpt {run}" if measured else f"cnn predict IMAGE --ckpt {run}"
    return [first, f"cnn report {run}"]
