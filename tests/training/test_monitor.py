"""`train.monitor`: the best epoch, early stopping, and measured metrics."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures
from short_training import Watch, rows_without_times, run, weights

from cnn_cli.cli.shared.gates import check_gates, gate
from cnn_cli.config import validate_config
from cnn_cli.errors import ConfigError, UsageError
from cnn_cli.inference import evaluate
from cnn_cli.metric_names import OVERALL, Metric, find_metric
from cnn_cli.report.text.training_result import chosen_by, result_text
from cnn_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cnn_cli.runs.results import EpochRow
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.requests import Requests

CHEAP = ("macro_f1", "weighted_f1", "balanced_accuracy", "kappa", "mcc", "brier", "ece")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("monitor", ["loss", "val_brier", "auc", "recall:striped", "top2"])
def test_best_is_the_epoch_of_the_best_value(pictures: Path, tmp_path: Path, monitor: str) -> None:
    watch = Watch()
    optimizer = {"type": "sgd", "lr": 0.3}
    result = run(pictures, tmp_path / "run", watch, epochs=5, monitor=monitor, optimizer=optimizer)
    metric = find_metric(monitor.removeprefix("val_"))
    assert metric is not None
    values = [row.value(metric) for row in watch.rows]
    known = [value for value in values if value is not None]
    assert len(known) == 5
    best = (max if metric.kind.rises else min)(known)
    equal = [row for row in watch.rows if row.value(metric) == best]
    assert result.best_epoch == min(equal, key=lambda row: row.val_loss or 0).epoch
    checkpoint = load_checkpoint(tmp_path / "run" / "best.npz")
    assert checkpoint.meta["epoch"] == result.best_epoch
    words = f"validation {metric.text} {best:.4f}"
    assert f"(epoch {result.best_epoch}, {words})" in result_text(result)
    assert chosen_by(checkpoint.meta, "x") == f"{words} in epoch {result.best_epoch}"
    last = load_checkpoint(tmp_path / "run" / "last.npz")
    assert (chosen_by(last.meta, "x") is None) is (result.best_epoch != 5)
    table = rows_without_times(tmp_path / "run")
    assert [float(row[metric.column]) for row in table] == known


@pytest.mark.parametrize(
    ("epochs", "best", "stopped"),
    [
        ([(0.9, 0.5), (0.9, 0.4)], 2, False),
        ([(0.9, 0.5), (0.9, 0.4), (0.8, 0.1)], 2, True),
        ([(0.9, 0.5), (0.9, 0.5)], 1, False),
        ([(0.9, 0.5), (0.9, 0.6)], 1, False),
        ([(0.9, 0.5), (0.95, 0.9)], 2, False),
        ([(0.9, None), (0.9, 0.5)], 1, False),
        ([(0.9, 0.5), (0.8, 0.1), (0.8, 0.05)], 1, True),
        ([(0.9, 0.5), (0.9, 0.4), (0.9, 0.3)], 3, True),
    ],
)
def test_of_equal_epochs_the_lower_loss_is_better(
    epochs: list[tuple[float, float | None]], best: int, stopped: bool
) -> None:
    state, top1 = TrainingState(), find_metric("top1")
    assert top1 is not None
    for number, (value, loss) in enumerate(epochs, start=1):
        state.end_epoch(EpochRow(number, 1.0, 0.5, loss, value, 0.1, 1.0, 1.0), top1, 2)
    assert (state.best_epoch, state.early_stopped) == (best, stopped)


def test_an_epoch_that_measured_nothing_before_others() -> None:
    """As when no validation image can be read for a while."""
    state, monitor = TrainingState(), Metric("macro_f1")
    for number, val in enumerate([{}, {"macro_f1": 0.5}, {"macro_f1": 0.4}], start=1):
        row = EpochRow(number, 1.0, 0.5, 1.0 if val else None, None, 0.1, 1.0, 1.0, val)
        state.end_epoch(row, monitor, 1)
    assert (state.best_epoch, state.early_stopped) == (2, True)


def test_every_epoch_measures_what_costs_nothing(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    run(pictures, tmp_path / "run", watch, epochs=1)
    assert tuple(watch.rows[0].val) == CHEAP
    assert set(OVERALL) - set(CHEAP) == {"loss", "auc", "average_precision"}
    (row,) = rows_without_times(tmp_path / "run")
    assert list(row)[-len(CHEAP) :] == [f"val_{name}" for name in CHEAP]


def test_gates_are_measured_as_well(pictures: Path, tmp_path: Path) -> None:
    gates = (Metric("auc"), Metric("precision", "dark"), Metric("top1"))
    result = run(pictures, tmp_path / "run", options={"gates": gates}, epochs=1)
    assert result.best is not None
    assert tuple(result.best.val) == (*CHEAP, "auc", "precision:dark")
    assert all(result.best.value(metric) is not None for metric in gates)


@pytest.mark.parametrize("monitor", ["auc", "f1:dark"])
def test_stopped_and_resumed_gives_the_same_bits(
    pictures: Path, tmp_path: Path, monitor: str
) -> None:
    keys: dict[str, Any] = {"monitor": monitor, "scheduler": {"type": "plateau", "patience": 0}}
    run(pictures, tmp_path / "whole", **keys)
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 2):
            requests.ask_stop("time limit")

    run(pictures, tmp_path / "parts", Watch(stop), requests, **keys)
    run(pictures, tmp_path / "parts", options={"resume": True}, **keys)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows_without_times(tmp_path / "whole") == rows_without_times(tmp_path / "parts")


def test_patience_ends_the_training(pictures: Path, tmp_path: Path) -> None:
    optimizer = {"type": "sgd", "lr": 0.0}
    keys: dict[str, Any] = {"epochs": 30, "monitor": "macro_f1", "optimizer": optimizer}
    result = run(pictures, tmp_path / "run", patience=2, **keys)
    assert (result.epochs, result.stopped) == (3, "early stop")
    again = run(pictures, tmp_path / "run", options={"resume": True}, early_stop=2, **keys)
    assert again.stopped == "early stop"


def test_plateau_follows_the_monitor_that_is_given(pictures: Path) -> None:
    def follows(**train: Any) -> str | None:
        document = config_document(pictures, **train)
        schedule: Any = validate_config(document, "x").train.scheduler
        monitor: str | None = schedule.monitor
        return monitor

    assert follows(scheduler="plateau") == "loss"
    assert follows(scheduler="plateau", monitor="top1") == "top1"
    assert follows(scheduler="plateau", monitor="recall:dark") == "recall:dark"
    own = {"type": "plateau", "monitor": "val_ece"}
    assert follows(scheduler=own, monitor="recall:dark") == "ece"


def test_the_last_epoch_is_kept_whatever_its_value(pictures: Path, tmp_path: Path) -> None:
    best: list[bool] = []

    class Marks(Watch):
        def epoch(self, row: EpochRow, best_so_far: bool) -> None:
            super().epoch(row, best_so_far)
            best.append(best_so_far)

    optimizer, constant = {"type": "sgd", "lr": 0.3}, {"type": "constant"}
    keys: dict[str, Any] = {"epochs": 5, "optimizer": optimizer, "scheduler": constant}
    keys |= {"keep": "last", "monitor": "loss"}
    watch = Marks()
    result = run(pictures, tmp_path / "whole", watch, **keys)
    values = [row.val_loss or 0 for row in watch.rows]
    assert min(values) < values[-1]  # else nothing is shown
    assert (result.best_epoch, best) == (5, [False] * 5)
    words = f"best.npz (last epoch 5, validation loss {values[-1]:.4f})"
    assert words in result_text(result)
    kept = load_checkpoint(tmp_path / "whole" / "best.npz")
    assert chosen_by(kept.meta, "x") == "train.keep=last, epoch 5"
    last = load_checkpoint(tmp_path / "whole" / "last.npz").groups["model"]
    for name, array in kept.groups["model"].items():
        if "running" in name:  # estimated anew
            continue
        np.testing.assert_array_equal(array, last[name])
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (4, 2):
            requests.ask_stop("time limit")

    stopped = run(pictures, tmp_path / "parts", Watch(stop), requests, **keys)
    assert stopped.best_epoch == 3
    run(pictures, tmp_path / "parts", options={"resume": True}, **keys)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    again = load_checkpoint(tmp_path / "parts" / "best.npz")
    assert again.meta["epoch"] == 5


def test_early_stop_needs_the_best_epoch(pictures: Path) -> None:
    with pytest.raises(ConfigError) as error:
        validate_config(config_document(pictures, keep="last", patience=2), "x")
    assert error.value.line() == (
        "x: train: early_stop ends later than the best epoch: keep must be best."
    )


def test_an_older_run_goes_on(pictures: Path, tmp_path: Path) -> None:
    """Its config has no monitor, and its rows have only loss and top-1."""
    run(pictures, tmp_path / "whole", epochs=4, scheduler="plateau")
    run(pictures, tmp_path / "old", epochs=2, scheduler="plateau")
    last = load_checkpoint(tmp_path / "old" / "last.npz")
    train, state = last.meta["config"]["train"], last.meta["state"]
    del train["monitor"], train["patience"]
    train["scheduler"]["monitor"] = "val_loss"
    state["best_top1"] = state["rows"][state["best_epoch"] - 1]["val_top1"]
    for row in state["rows"]:
        for name in CHEAP:
            del row[f"val_{name}"]
    save_checkpoint(tmp_path / "old" / "last.npz", last)
    watch = Watch()
    options = {"resume": True}
    result = run(pictures, tmp_path / "old", watch, options=options, epochs=4, scheduler="plateau")
    assert [row.epoch for row in watch.rows] == [3, 4]
    assert weights(tmp_path / "old") == weights(tmp_path / "whole")
    table = rows_without_times(tmp_path / "old")
    assert [bool(row["val_macro_f1"]) for row in table] == [False, False, True, True]
    whole = load_checkpoint(tmp_path / "whole" / "last.npz").meta["state"]
    assert result.best_epoch == whole["best_epoch"]


def row(epoch: int, value: float | None) -> EpochRow:
    return EpochRow(epoch, 0.5, 0.5, 0.5, 0.5, 0.1, 1.0, 1.0, {"kappa": value})


@pytest.mark.parametrize(
    ("values", "best", "stopped"),
    [
        ([0.1, 0.3, 0.3, 0.2], 2, True),
        ([None, None, 0.1, None], 3, False),
        ([0.1, None, None, 0.1], 1, True),
        ([None, None, None], 3, False),
        ([-0.5, float("nan"), -0.6], 1, True),
    ],
)
def test_values_that_are_not_there(values: list[float | None], best: int, stopped: bool) -> None:
    state = TrainingState()
    for i, value in enumerate(values):
        state.end_epoch(row(i + 1, value), Metric("kappa"), 2)
    assert (state.best_epoch, state.early_stopped) == (best, stopped)


def test_rows_keep_metrics_on_one_level() -> None:
    one = row(1, 0.25)
    flat = one.as_dict()
    assert flat["val_kappa"] == 0.25
    assert "val" not in flat
    assert EpochRow.of(flat | {"foreign": 1}) == one


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"monitor": "recall:drak"},
            "train.monitor: recall:CLASS must name a class. Did you mean 'dark'? Got 'drak'.",
        ),
        (
            {"scheduler": {"type": "plateau", "monitor": "f1:zzz"}},
            "train.scheduler.monitor: f1:CLASS must name a class. Got 'zzz'.",
        ),
        (
            {"monitor": "recall:dark"},
            "train.monitor: recall:dark needs validation images of the class. Got none.",
        ),
    ],
)
def test_what_the_images_do_not_have(
    pictures: Path, tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    shutil.copytree(pictures, tmp_path / "p")
    shutil.rmtree(tmp_path / "p/val/dark")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "p", tmp_path / "run", **keys)
    assert str(caught.value) == f"test.yaml: {message}"


def test_without_validation_images(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "train", tmp_path / "p")
    document = config_document(tmp_path / "p", monitor="macro_f1")
    document["data"]["val_split"] = 0
    from cnn_cli.training.options import TrainOptions
    from cnn_cli.training.setup import prepare

    config = validate_config(document, "x.yaml")
    with pytest.raises(ConfigError) as caught:
        prepare(config, "x.yaml", TrainOptions(), {})
    message = "x.yaml: train.monitor: macro_f1 needs validation images. Got none."
    assert str(caught.value) == message


def test_scores_that_do_not_fit(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MOST_KEPT", 24 * 3 * 4 - 1)
    with pytest.raises(ConfigError) as caught:
        run(pictures, tmp_path / "run", monitor="auc")
    rule = "auc takes the scores of all validation images, which do not fit. Got 288 B."
    assert str(caught.value) == f"test.yaml: train.monitor: {rule}"
    with pytest.raises(UsageError) as asked:
        run(pictures, tmp_path / "run", options={"gates": (Metric("auc"),)})
    assert str(asked.value) == f"--fail-under: {rule}"
    monkeypatch.setattr(evaluate, "MOST_KEPT", 24 * 3 * 4)
    assert run(pictures, tmp_path / "run", monitor="auc", epochs=1).best_epoch == 1


def test_a_gate_names_a_class() -> None:
    read = partial(gate(topk=True), "--fail-under")
    check_gates([read("recall:dark=1"), read("0.5")], ["dark", "bright"])
    with pytest.raises(UsageError) as caught:
        check_gates([read("recall:dakr=1")], ["dark", "bright"])
    rule = "recall:CLASS must name a class. Did you mean 'dark'? Got 'dakr'."
    assert str(caught.value) == f"--fail-under: {rule}"


def test_the_plan_counts_the_scores(pictures: Path) -> None:
    from cnn_cli.training.options import TrainOptions
    from cnn_cli.training.setup import prepare

    def memory(monitor: str) -> int:
        config = validate_config(config_document(pictures, monitor=monitor), "x")
        return prepare(config, "x", TrainOptions(threads=1, backend="numpy"), {}).memory.nbytes

    assert memory("auc") - memory("top1") == 24 * 3 * np.dtype(np.float32).itemsize
