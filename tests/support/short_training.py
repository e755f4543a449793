"""A training of seconds, what it reports, and its results."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learnable import config_document

from cnn_cli.config import validate_config
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


class Watch(Silent):
    """Records reports, and can act after a step."""

    def __init__(self, after_step: Callable[[int, int], None] | None = None) -> None:
        self.rows: list[EpochRow] = []
        self.notes: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.after_step = after_step

    def note(self, message: str) -> None:
        self.notes.append(message)

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        self.steps.append((epoch, step))
        if self.after_step is not None:
            self.after_step(epoch, step)

    def epoch(self, row: EpochRow, best: bool) -> None:
        self.rows.append(row)


def run(
    pictures: Path,
    out: Path,
    watch: Watch | None = None,
    requests: Requests | None = None,
    options: dict[str, Any] | None = None,
    **keys: Any,
) -> TrainResult:
    config = validate_config(config_document(pictures, **keys), "test.yaml")
    given: dict[str, Any] = {"out": out, "threads": 2, "backend": "numpy"}
    chosen = TrainOptions(**(given | (options or {})))
    return train(config, "test.yaml", chosen, requests or Requests(), watch or Watch())


def weights(run_folder: Path) -> dict[str, bytes]:
    checkpoint = load_checkpoint(run_folder / "last.npz")
    return {
        f"{group}/{name}": array.tobytes()
        for group, arrays in checkpoint.groups.items()
        for name, array in arrays.items()
    }


def rows_without_times(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows
