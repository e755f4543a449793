"""Several processes train as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardship import Field, cnn, make_field, metrics_of
from mpiexec import mpiexec, needs_mpi, together

from cnn_cli.training.checkpoint import load_checkpoint
from cnn_cli.training.ranks import Alone, open_ranks, started_as, started_ranks
from cnn_cli.training.run import CONFUSION, CURVES

KEYS: dict[str, Any] = {
    # 36 images with the bad one: the last batch has one image, and most ranks none of it.
    "batch_size": 5,
    "accumulate": 2,
    "dtype": "float64",
    "optimizer": {"type": "sgd", "lr": 0.05},
}


def spoilt_field(folder: Path) -> Field:
    """A field with a picture in each part that cannot be read."""
    field = make_field(folder, **KEYS)
    for path in ("train/dark/5.png", "val/bright/1.png"):
        (field.pictures / path).write_bytes(b"no picture")
    return field


def assert_alike(one: Path, other: Path) -> None:
    """The same but for rounding: what was measured, and all arrays that were saved."""
    measured = ("train_loss", "train_top1", "val_loss", "val_top1", "lr")
    rows = [
        np.array([[float(row[key]) for key in measured] for row in metrics_of(run)])
        for run in (one, other)
    ]
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-9)
    for name in ("last.npz", "best.npz"):
        first, second = (load_checkpoint(run / name).groups for run in (one, other))
        assert first.keys() == second.keys()
        for group in first:
            for key, array in first[group].items():
                np.testing.assert_allclose(
                    second[group][key], array, rtol=1e-7, atol=1e-10, err_msg=f"{group}/{key}"
                )


@needs_mpi
def test_three_ranks_train_like_one_process(tmp_path: Path) -> None:
    """With all techniques, pictures that cannot be read, and batches of fewer images than ranks."""
    field = spoilt_field(tmp_path)
    line: tuple[Any, ...] = ("train", field.config, "--quiet", "--threads", 1)
    assert cnn(*line, "--out", tmp_path / "one").code == 0
    outcome = mpiexec(together(3, *line, "--out", tmp_path / "three"))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert_alike(tmp_path / "one", tmp_path / "three")
    names = [{path.name for path in (tmp_path / run).iterdir()} for run in ("one", "three")]
    assert names[0] == names[1] - {CURVES, CONFUSION}  # which tests in this process do not draw
    bad = [(tmp_path / run / "bad_files.txt").read_text() for run in ("one", "three")]
    assert bad[0] == bad[1]
    assert len(bad[0].splitlines()) == 2


@pytest.mark.parametrize(
    ("environment", "count", "number"),
    [
        ({}, 1, 0),
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, 4, 2),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}, 3, 1),
        ({"PMIX_RANK": "5", "SLURM_STEP_NUM_TASKS": "8"}, 8, 5),
        ({"SLURM_STEP_NUM_TASKS": "8"}, 1, 0),
        ({"PMI_SIZE": "many"}, 1, 0),
    ],
)
def test_what_started_it_says_how_many(
    environment: dict[str, str], count: int, number: int
) -> None:
    assert (started_ranks(environment), started_as(environment)) == (count, number)


def test_alone_without_mpi() -> None:
    assert isinstance(open_ranks(), Alone)
