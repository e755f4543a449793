"""Several processes train like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardship import Field, cnn, make_field, metrics_of
from launchers import DEEP, LAUNCHERS, several
from learnable import make_pictures
from mpiexec import mpiexec, needs_mpi, together

from cnn_cli.config import load_config
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.shards import touched
from cnn_cli.parallel.launcher import open_ranks, started_as, started_ranks
from cnn_cli.parallel.ranks import Alone
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.folder import CONFUSION, CURVES
from cnn_cli.training.training_data import deal_shards

KEYS: dict[str, Any] = {
    # 36 images with the unreadable one: the last batch has one image, and most ranks none.
    "batch_size": 5,
    "accumulate": 2,
    "dtype": "float64",
    "optimizer": {"type": "sgd", "lr": 0.05},
    "layer_decay": 0.75,
}


def spoilt_field(folder: Path) -> Field:
    """A field with an unreadable image in each part."""
    field = make_field(folder, **KEYS)
    for path in ("train/dark/5.png", "val/bright/1.png"):
        (field.pictures / path).write_bytes(b"no picture")
    return field


def assert_alike(one: Path, other: Path) -> None:
    """Assert equality up to rounding, of metrics and all saved arrays."""
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


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_three_ranks_train_like_one_process(tmp_path: Path, launcher: str) -> None:
    """With all techniques, unreadable images, and batches smaller than the number of ranks."""
    field = spoilt_field(tmp_path)
    line: tuple[Any, ...] = ("train", field.config, "--quiet", "--threads", 1)
    assert cnn(*line, "--out", tmp_path / "one").code == 0
    outcome = several(launcher, 3, *line, "--out", tmp_path / "three")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", ""), outcome.err
    assert_alike(tmp_path / "one", tmp_path / "three")
    names = [{path.name for path in (tmp_path / run).iterdir()} for run in ("one", "three")]
    assert names[0] == names[1] - {CURVES, CONFUSION}  # tests in this process draw none
    bad = [(tmp_path / run / "bad_files.txt").read_text() for run in ("one", "three")]
    assert bad[0] == bad[1]
    assert len(bad[0].splitlines()) == 2


OWN_FILES_ONLY = """
import os, sys
with open(os.path.join(sys.argv[1], os.environ["PMI_RANK"])) as file:
    others = set(file.read().splitlines())
def refuse(event, arguments):
    if event == "open" and str(arguments[0]) in others:
        raise PermissionError(13, "of another rank", arguments[0])
sys.addaudithook(refuse)
sys.argv = ["cnn", *sys.argv[2:]]
from cnn_cli.__main__ import main
main()
"""


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_shards_are_read_by_their_own_ranks(tmp_path: Path, ranks: int) -> None:
    """With mixed images, estimated statistics and measured means; like one process."""
    field = make_field(tmp_path, **KEYS)
    line: tuple[Any, ...] = ("train", field.config, "--quiet", "--threads", 1, "data.shards=2")
    line = (*line, "data.cache=none", "augment.cutmix.p=1")
    assert cnn(*line, "--out", tmp_path / "one").code == 0
    config = load_config(field.config, ["data.shards=2"])
    train = open_dataset(field.pictures, None, 0.0).train
    shards = deal_shards(config, train)
    for rank in range(ranks):
        mine = touched(shards, rank, ranks)
        others = [path for i, path in enumerate(train.paths) if i not in mine]
        assert bool(others) == (ranks == 2 or rank != 1)
        (tmp_path / str(rank)).write_text("\n".join(others))
    command = together(ranks, *line, "--out", tmp_path / "several")
    command[4:6] = ["-c", OWN_FILES_ONLY, str(tmp_path)]
    outcome = mpiexec(command)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", ""), outcome.err
    assert_alike(tmp_path / "one", tmp_path / "several")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_numbers_that_do_not_depend_on_who_computes(tmp_path: Path, launcher: str) -> None:
    """For a network that uses its weights often: in float32, the same for 1, 2 and 4 ranks or
    threads, also while its images grow.
    """
    make_pictures(tmp_path / "pictures", 55, 4, side=32)
    config = tmp_path / "deep.yaml"
    config.write_text(DEEP)
    line: tuple[Any, ...] = ("train", config, "--data", tmp_path / "pictures", "--quiet")
    growing = "{initial_scale: 0.75, delay_fraction: 0.5, finetune_fraction: 0.5}"
    line = (*line, f"train.progressive_resizing={growing}")
    for threads in (1, 2, 4):
        run = tmp_path / f"threads{threads}"
        assert cnn(*line, "--threads", threads, "--out", run).code == 0
    for ranks in (2, 4):
        run = tmp_path / f"ranks{ranks}"
        assert several(launcher, ranks, *line, "--threads", 1, "--out", run).code == 0
    first, *others = (
        load_checkpoint(tmp_path / run / "last.npz").groups["model"]
        for run in ("threads1", "threads2", "threads4", "ranks2", "ranks4")
    )
    for other in others:
        for name, array in first.items():
            np.testing.assert_array_equal(other[name], array, err_msg=name)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(("batch_size", "what"), [(5, "loss"), (36, "batch statistics")])
def test_ranks_roll_back_together(
    tmp_path: Path, batch_size: int, what: str, launcher: str
) -> None:
    """They report the same as one process, once."""
    keys = {"on_nan": "rollback", "optimizer": {"type": "sgd", "lr": 1e300}}
    field = make_field(tmp_path, **KEYS | keys | {"batch_size": batch_size})
    line: tuple[Any, ...] = ("train", field.config, "--threads", 1)
    one = cnn(*line, "--out", tmp_path / "one")
    three = several(launcher, 3, *line, "--out", tmp_path / "three")
    assert three == one
    assert (one.code, one.err.count(f"the {what} must be finite")) == (5, 4)


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
