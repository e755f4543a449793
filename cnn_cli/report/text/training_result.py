"""How a training ended, for people and for programs."""

from __future__ import annotations

from shlex import quote
from typing import Any

from cnn_cli.report.text.table import format_pairs
from cnn_cli.runs.checkpoint import BEST, LAST
from cnn_cli.runs.folder import CONFIG
from cnn_cli.runs.results import TrainResult

RESUMABLE = ("time limit", "terminated", "interrupted")


def result_dict(result: TrainResult) -> dict[str, Any]:
    """What `cnn train --json` prints; the losses and shares are the last epoch's."""
    last = {} if result.last is None else result.last.as_dict()
    return {
        "run": str(result.run),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        **{key: last.get(key) for key in ("train_loss", "train_top1", "val_loss", "val_top1")},
        "seconds": round(result.seconds, 3),
        "stopped": result.stopped,
    }


def result_text(result: TrainResult) -> str:
    """The same in a few lines, where the files are, and what to type next."""
    pairs = [("run", str(result.run))] if result.run.exists() else []
    pairs.append(("epochs", str(result.epochs)))
    if result.stopped is not None:
        pairs.append(("stopped", result.stopped))
    if result.last is not None:
        row = result.last
        pairs.append(("train", f"loss {row.train_loss:.4f}, top-1 {row.train_top1:.4f}"))
        if row.val_loss is not None and row.val_top1 is not None:
            pairs.append(("validation", f"loss {row.val_loss:.4f}, top-1 {row.val_top1:.4f}"))
    if result.best_epoch is not None:
        top1 = "" if result.best_top1 is None else f", validation top-1 {result.best_top1:.4f}"
        best = result.run / BEST
        pairs.append(("best", f"{best} (epoch {result.best_epoch}{top1})"))
    elif result.epochs == 0:
        last = result.run / LAST
        pairs.append(("last", str(last) if last.exists() else "nothing was saved"))
    if result.bad_files:
        pairs.append(("bad files", f"{result.bad_files:,}: {result.run / 'bad_files.txt'}"))
    pairs.append(("time", f"{result.seconds:.1f} s"))
    pairs += zip(("next", ""), next_commands(result), strict=False)
    return format_pairs(pairs)


def next_commands(result: TrainResult) -> list[str]:
    """The command lines that are likely to come next."""
    run = quote(str(result.run))
    if result.stopped in RESUMABLE:
        if not (result.run / LAST).exists():
            return []  # it stopped before there was anything to save
        return [f"cnn train {quote(str(result.run / CONFIG))} --out {run} --resume"]
    if result.best_epoch is None:
        return []
    measured = result.best_top1 is not None
    first = f"cnn eval --ckpt {run}" if measured else f"cnn predict IMAGE --ckpt {run}"
    return [first, f"cnn report {run}"]
