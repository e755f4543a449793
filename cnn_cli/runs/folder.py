"""Run folders: choosing one, writing to it exclusively, and its files."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnn_cli.errors import DataError, UsageError, printable, reason
from cnn_cli.files import (
    check_writable_folder,
    make_folder,
    remove_stale_temporaries,
    write_atomic,
)
from cnn_cli.runs.checkpoint import BEST, FOLD, LAST, SWEEP, TRIAL
from cnn_cli.runs.lock import LOCK, RunLock

RUNS = Path("runs")
CONFIG = "config.yaml"
METRICS = "metrics.csv"
LOG = "log.jsonl"
BAD_FILES = "bad_files.txt"
CURVES, CONFUSION, REPORT = "curves.png", "confusion.png", "report.html"
OUT_OF_FOLD = "out_of_fold.csv"
RECEIPT = "receipt.csv"
TENSORBOARD, EVENTS = "tensorboard", "events.out.tfevents.*"  # a folder, and its files
TRIALS, BEST_CONFIG = "sweep.csv", "best.yaml"
DRAWN = (CURVES, CONFUSION, REPORT)  # created afterwards from the other files
OF_SEVERAL = (OUT_OF_FOLD, SWEEP, TRIALS, BEST_CONFIG)
OWN_FILES = (CONFIG, LAST, BEST, METRICS, LOG, BAD_FILES, RECEIPT, *OF_SEVERAL, *DRAWN)
COLUMNS = (
    "epoch",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "lr",
    "seconds",
    "images_per_second",
)
# The keys that a resumed run may change: how long it trains, how it caches images and writes
# checkpoints, and additional files for the user. Recomputing activations gives the same result.
# Handling of values that are not finite changes no step done before. Moved images are compared with
# the checkpoint, see `training.resumed_data`. The source of the initial weights no longer matters.
RESUMABLE = (
    "train.weights",
    "train.epochs",
    "train.checkpoint_every",
    "train.recompute",
    "train.processes",
    "train.on_nan",
    "train.tensorboard",
    "data.cache",
    "data.root",
)


def choose_folder(out: Path | None, config: str, *, resume: bool, overwrite: bool) -> Path:
    """Return the run folder: `--out`, else `runs/<config name>`, then `-2`, `-3` and so on.

    Raises:
        UsageError: `out` contains a run, without `--resume` or `--overwrite`.
    """
    if out is not None:
        if holds_run(out) and not (resume or overwrite):
            raise UsageError(f"--out {out}", "holds a run; give --resume or --overwrite to use it")
        return out
    name = Path(config).resolve().stem
    if name == "config" and holds_run(Path(config).resolve().parent):
        name = Path(config).resolve().parent.name  # a run's own config
    first = RUNS / name
    if overwrite:
        return first
    # A lock alone counts as well: that training has not reached its first checkpoint yet.
    numbers = [1] * (holds_run(first) or (first / LOCK).exists())
    for folder in RUNS.glob(f"{glob.escape(name)}-*"):
        suffix = folder.name.removeprefix(f"{name}-")
        if suffix.isdecimal() and (holds_run(folder) or (folder / LOCK).exists()):
            numbers.append(int(suffix))
    number = max(numbers, default=0) + (not resume)
    return first if number <= 1 else RUNS / f"{name}-{number}"


def holds_run(folder: Path) -> bool:
    """Whether `folder` contains a run, a run of folds, or a sweep."""
    return _holds_files(folder) or bool(folds_in(folder)) or holds_sweep(folder)


def holds_sweep(folder: Path) -> bool:
    """Whether `folder` contains a sweep."""
    return (folder / SWEEP).exists() or bool(trials_in(folder))


def _holds_files(folder: Path) -> bool:
    return any((folder / name).exists() for name in (LAST, BEST, METRICS, LOG))


def fold_folder(folder: Path, number: int) -> Path:
    """Return the folder of one fold's run, counted from 1."""
    return folder / f"{FOLD}{number}"


def folds_in(folder: Path) -> list[Path]:
    """Return the folds' runs in `folder`, in order."""
    return _numbered(folder, FOLD)


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of one trial's run, counted from 1."""
    return folder / f"{TRIAL}{number}"


def trials_in(folder: Path) -> list[Path]:
    """Return the trials' runs in `folder`, in order."""
    return _numbered(folder, TRIAL)


def _numbered(folder: Path, start: str) -> list[Path]:
    """Return the runs whose folder name is `start` and a number."""
    found = {}
    for path in folder.glob(f"{start}*"):
        digits = path.name.removeprefix(start)
        if digits.isascii() and digits.isdigit() and _holds_files(path):
            found[int(digits)] = path
    return [found[number] for number in sorted(found)]


class RunFolder:
    """The files of a run, locked for this process.

    A context manager that creates and locks the folder on entry.

    Raises:
        LockedError: another process is training in it.
        DataError: it cannot be created or locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: RunLock | None = None
        self._made = False

    def __enter__(self) -> RunFolder:
        self._made = not self.path.exists()
        make_folder(self.path)
        self._lock = RunLock(self.path)
        remove_stale_temporaries(self.path)  # they may be what fills the disk
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            nothing = False  # nothing was written: leave no folder that looks like a run
            with suppress(OSError):  # the folder itself may be gone
                names = {entry.name for entry in self.path.iterdir()}
                nothing = self._made and names == self._lock.files
            self._lock.release(delete=nothing)
            self._lock = None

    def check_writable(self) -> None:
        """Check that files can be created in it.

        Raises:
            DataError: they cannot.
        """
        check_writable_folder(self.path)

    def clear(self) -> None:
        """Delete the run in it, including those of its folds or trials, and nothing else.

        Raises:
            DataError: a file cannot be deleted.
            LockedError: another process is training one of them.
        """
        for place in (*folds_in(self.path), *trials_in(self.path)):
            with RunFolder(place) as one:
                one.clear()
            with suppress(OSError):
                (place / LOCK).unlink()
                place.rmdir()
        events = self.path / TENSORBOARD
        for place in (*(self.path / name for name in OWN_FILES), *events.glob(EVENTS)):
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise DataError(place, "cannot be deleted", reason(error)) from error
        with suppress(OSError):  # it does not exist or is not empty
            events.rmdir()

    @property
    def last(self) -> Path:
        return self.path / LAST

    @property
    def best(self) -> Path:
        return self.path / BEST

    def write_config(self, text: str) -> None:
        write_atomic(self.path / CONFIG, text.encode(), own=True)

    def write_reports(
        self, rows: Iterable[Mapping[str, Any]], log: Iterable[Mapping[str, Any]]
    ) -> None:
        """Write `metrics.csv` and `log.jsonl` from the rows in the checkpoint."""
        self.write(METRICS, _metrics_csv(rows))
        self.write(LOG, _log_lines(log))

    def has_reports(
        self, rows: Iterable[Mapping[str, Any]], log: Iterable[Mapping[str, Any]]
    ) -> bool:
        """Whether `write_reports` would change nothing."""
        return self._holds(METRICS, _metrics_csv(rows)) and self._holds(LOG, _log_lines(log))

    def is_writable(self) -> bool:
        """Whether the system allows creating files in it."""
        return os.access(self.path, os.W_OK)

    def write_bad_files(self, bad: Mapping[str, str]) -> None:
        """Write one line per image: path, tab, problem."""
        if bad:
            lines = [f"{printable(path)}\t{printable(bad[path])}\n" for path in sorted(bad)]
            self.write(BAD_FILES, "".join(lines).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file; a file with equal content keeps its modification time."""
        if not self._holds(name, content):
            write_atomic(self.path / name, content, own=True)

    def _holds(self, name: str, content: bytes) -> bool:
        path = self.path / name
        with suppress(OSError):
            return not path.is_symlink() and path.is_file() and path.read_bytes() == content
        return False


def _metrics_csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a CSV with one row per epoch and a column for every metric measured in any of them."""
    rows = list(rows)
    columns = list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)]))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([printable(key) for key in columns])  # keys may contain class names
    table.writerows([_cell(row.get(key)) for key in columns] for row in rows)
    return text.getvalue().encode()


def _log_lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(event, ensure_ascii=True) + "\n" for event in events).encode()


def _cell(value: float | None) -> float | str:
    """Convert null, which JSON and so the checkpoint has for values that are not finite."""
    return "" if value is None or not math.isfinite(value) else value


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], allowed: Sequence[str]
) -> list[str]:
    """Return the dotted keys whose values differ between two plain configs, except `allowed`."""
    flat_old, flat_new = dict(flat(old)), dict(flat(new))
    return [
        key
        for key in dict.fromkeys([*flat_old, *flat_new])
        if flat_old.get(key) != flat_new.get(key) and key not in allowed
    ]


def flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield dotted keys and values of a plain config; list positions are keys too."""
    if isinstance(value, Mapping) and value:
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list) and value:
        items = enumerate(value)
    else:
        return [(prefix, value)]
    return [
        pair
        for key, child in items
        for pair in flat(child, f"{prefix}.{key}" if prefix else str(key))
    ]
