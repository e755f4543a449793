"""A small run for robustness tests, and what must not change."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from cli_program import Outcome, plainly
from learnable import make_pictures
from patience import PATIENCE

from cnn_cli.cli import train
from cnn_cli.cli.main import run
from cnn_cli.runs.checkpoint import load_checkpoint

CODES = {0, 2, 3, 4, 5, 6, 7, 75, 130, 141}  # 1 is a bug
ALL_TECHNIQUES: dict[str, Any] = {
    "data": {"image_size": 8, "channels": 1},
    "model": {
        "layers": [
            {"conv": {"out_channels": 6, "kernel_size": 3, "padding": "same"}},
            "batchnorm",
            "relu",
            {"dropout": 0.3},
            {"maxpool": 2},
            {"linear": "classes"},
        ]
    },
    "augment": {
        "random_resized_crop": [0.5, 1.0],
        "hflip": "alternating",
        "pad_crop": {"padding": 1, "padding_mode": "reflect"},
        "rotate": 10,
        "random_erase": {"p": 0.3, "value": "random"},
        "mixup": 0.4,
        "cutmix": {"p": 0.5},
    },
    "train": {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"type": "adamw", "lr": 0.01},
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        "clip_grad_norm": 5.0,
        "precise_bn": True,
        "ema": 0.5,  # of few steps
        "lr_factors": {"linear.bias": 2.0},
        "freeze": {"batchnorm.weight": 1},
    },
}


@dataclass(frozen=True, slots=True)
class Field:
    """Images of three classes and a config to train on them.

    Attributes:
        pictures: the folder with `train` and `val`.
        config: the YAML file beside it.
    """

    pictures: Path
    config: Path


def make_field(folder: Path, train: int = 12, val: int = 4, **keys: Any) -> Field:
    """Write images and a config with every technique; `keys` override keys of `train`."""
    pictures = make_pictures(folder / "pictures", train, val)
    document = ALL_TECHNIQUES | {
        "data": ALL_TECHNIQUES["data"] | {"root": "pictures"},
        "train": ALL_TECHNIQUES["train"] | keys,
    }
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    return Field(pictures, config)


def cnn(*arguments: object, stdin: bytes = b"") -> Outcome:
    """Run a command line in this process, independent of fixtures, without plots of runs.

    Plots take longer than the training; separate processes draw them.
    """
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    try:
        with redirect_stdout(out), redirect_stderr(err), patch.object(train, "draw_run"):
            code = run(plainly(arguments))
            out.flush()
            err.flush()
    finally:
        sys.stdin = before
    texts = (stream.detach().getvalue().decode("utf-8", "replace") for stream in (out, err))
    return Outcome(int(code), *texts)


def weights_of(run_folder: Path, name: str = "last.npz") -> str:
    """Return the SHA-256 of all arrays of a checkpoint."""
    digest = hashlib.sha256()
    groups = load_checkpoint(run_folder / name).groups
    for group in sorted(groups):
        for key, array in sorted(groups[group].items()):
            digest.update(f"{group}/{key} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def metrics_of(run_folder: Path) -> list[dict[str, str]]:
    """Return the rows of `metrics.csv` without times."""
    with (run_folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows


def assert_same_run(one: Path, other: Path) -> None:
    """Assert equal weights, best weights and metrics, and a log entry for every epoch."""
    for name in ("last.npz", "best.npz"):
        assert weights_of(one, name) == weights_of(other, name), name
    rows = metrics_of(one)
    assert rows == metrics_of(other)
    lines = (other / "log.jsonl").read_text().splitlines()
    epochs = [event["epoch"] for event in map(json.loads, lines) if event["event"] == "epoch"]
    assert epochs == [int(row["epoch"]) for row in rows]
    listed = [run / "bad_files.txt" for run in (one, other) if (run / "bad_files.txt").exists()]
    assert len({path.read_text() for path in listed}) <= 1
    assert len(listed) in (0, 2)
    assert not list(other.glob(".cnn-*")), "a half-written file"


def contents(folder: Path) -> dict[str, str]:
    """Return every file below a folder with a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_well_said(outcome: Outcome) -> None:
    """Assert a documented exit code, lines of the program only on stderr, and no traceback."""
    assert outcome.code in CODES, outcome
    assert "Traceback" not in outcome.err, outcome
    lines = outcome.err.splitlines()
    assert all(line.startswith(("cnn: ", "epoch ")) for line in lines), outcome
    if outcome.code in (2, 3, 5, 6, 7):
        assert len(lines) >= 1, outcome


class TooSlowError(BaseException):
    """A case took too long; not an `Exception`, so that no handler catches it."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` on the main thread after that much CPU time of the process.

    Other load does not count; if all threads wait forever, it is raised after `PATIENCE`.
    """

    def too_slow(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds} s")

    limits = (
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE),
    )
    before = [signal.signal(number, too_slow) for number, _, _ in limits]
    for _, timer, limit in limits:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for _, timer, _ in limits:
            signal.setitimer(timer, 0)
        for (number, _, _), handler in zip(limits, before, strict=True):
            signal.signal(number, handler)
