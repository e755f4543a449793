"""Checkpoints are read back as written."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from checkpoints import META, error_of, example, meta_bytes, npy, write_zip
from stubs import small_graph

from cnn_cli.nn.params import Parameters
from cnn_cli.optim.optimizers import make_optimizer
from cnn_cli.optim.optimizers.sgd import SGDConfig
from cnn_cli.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    resolve_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.npz"


def test_round_trip(path: Path) -> None:
    saved = example()
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert loaded.meta == {"format_version": 1, **META}
    assert {group: list(arrays) for group, arrays in loaded.groups.items()} == {
        group: list(arrays) for group, arrays in saved.groups.items()
    }
    for group, arrays in saved.groups.items():
        for name, array in arrays.items():
            assert loaded.groups[group][name].dtype == array.dtype
            assert loaded.groups[group][name].shape == array.shape
            assert (loaded.groups[group][name] == array).all()


def test_numpy_reads_it_without_pickle(path: Path) -> None:
    save_checkpoint(path, example())
    with np.load(path, allow_pickle=False) as file:
        assert list(file) == [
            "meta",
            "model/stem/weight",
            "model/stem/bias",
            "optimizer/step",
            "optimizer/momentum_buffer/stem/weight",
        ]
        assert file["meta"].dtype == np.uint8
        assert json.loads(file["meta"].tobytes().decode("utf-8"))["format_version"] == 1


def test_arrays_of_another_byte_order(path: Path) -> None:
    array = np.arange(3, dtype=">f4")
    write_zip(path, {"meta.npy": meta_bytes(), "model/a.npy": npy(array)})
    assert load_checkpoint(path).groups["model"]["a"].tolist() == [0, 1, 2]


def test_only_the_groups_that_are_wanted(path: Path) -> None:
    save_checkpoint(path, example())
    assert list(load_checkpoint(path, groups=("model", "ema")).groups) == ["model"]


def test_a_network_and_its_optimizer(path: Path) -> None:
    rng = np.random.default_rng(0)
    params = Parameters(small_graph(), "float32")
    optimizer = make_optimizer(SGDConfig(), params)
    for _ in range(2):
        optimizer.step(rng.standard_normal(params.flat.size).astype(np.float32), 0.1)
    groups = {
        "model": params.named() | params.named_buffers(),
        "optimizer": optimizer.named_state(),
    }
    save_checkpoint(path, Checkpoint(META, groups))
    loaded = load_checkpoint(path)
    again = Parameters(small_graph(), "float32")
    again.load(loaded.groups["model"], str(path))
    restored = make_optimizer(SGDConfig(), again)
    restored.load_named_state(loaded.groups["optimizer"], str(path))
    assert all((again.named()[name] == array).all() for name, array in params.named().items())
    assert (restored.steps == 2).all()


def test_numbers_that_json_lacks_become_null(path: Path) -> None:
    rows = [{"val_loss": float("nan"), "lr": 0.1}, {"val_loss": float("inf"), "lr": (1, 2.5)}]
    save_checkpoint(path, Checkpoint(META | {"rows": rows}))
    assert load_checkpoint(path).meta["rows"] == [
        {"val_loss": None, "lr": 0.1},
        {"val_loss": None, "lr": [1, 2.5]},
    ]


def test_saving_and_loading_hold_no_second_copy(path: Path) -> None:
    array = np.ones((1500, 1000), np.float32)
    checkpoint = Checkpoint(META, {"model": {"a": array, "b": array[::2], "c": array.T}})
    save_checkpoint(path, example())  # imports
    tracemalloc.start()
    save_checkpoint(path, checkpoint)
    _, saving = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loaded = load_checkpoint(path)
    _, loading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(a.nbytes for a in loaded.groups["model"].values())
    # NumPy writes and reads in pieces of 16 MB (here, one array), and checks for NaN in bools.
    assert saving < 2.5 * array.nbytes
    assert loading < held + 1.5 * array.nbytes


def test_a_failed_save_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, example())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = Checkpoint(META | {"epoch": 4})
    error = error_of(path, lambda path: save_checkpoint(path, changed))
    assert error == "cannot be written. Got no space left on device."
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["last.npz"]


def test_which_checkpoint_a_path_means(tmp_path: Path) -> None:
    assert resolve_checkpoint(tmp_path / "a.npz") == tmp_path / "a.npz"
    assert error_of(tmp_path, resolve_checkpoint) == (
        "must be a checkpoint, or a run folder with best.npz or last.npz."
    )
    (tmp_path / "fold-1").mkdir()
    rule = f"must be one network: name a fold, such as {tmp_path}/fold-1. Got a run of folds."
    assert error_of(tmp_path, resolve_checkpoint) == rule
    (tmp_path / "fold-1").rename(tmp_path / "trial-1")
    (tmp_path / "sweep.json").touch()
    rule = f"must be one network: name a trial, such as {tmp_path}/trial-1. Got a sweep."
    assert error_of(tmp_path, resolve_checkpoint) == rule
    save_checkpoint(tmp_path / "last.npz", example())
    assert resolve_checkpoint(tmp_path) == tmp_path / "last.npz"
    save_checkpoint(tmp_path / "best.npz", example())
    assert resolve_checkpoint(str(tmp_path)) == tmp_path / "best.npz"


def test_only_what_is_asked_for_is_read(path: Path) -> None:
    """The rest is not read at all: here its content is not an array."""
    save_checkpoint(path, example())
    content = path.read_bytes()
    name = b"optimizer/momentum_buffer/stem/weight.npy"
    start = content.index(b"\x93NUMPY", content.index(name))
    path.write_bytes(content[:start] + b"damaged" + content[start + 7 :])
    assert list(load_checkpoint(path, ("model",)).groups) == ["model"]
    assert error_of(path).startswith("is damaged or cut short")
