"""Losses and gradients that are not finite: errors and rollbacks."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import config_document, make_pictures

from cnn_cli.config import validate_config
from cnn_cli.config.network import build_graph
from cnn_cli.data.opening import open_dataset
from cnn_cli.errors import DataError, DivergedError
from cnn_cli.nn.graph import Graph
from cnn_cli.nn.init import initialize
from cnn_cli.nn.loss import target_weights
from cnn_cli.nn.mix import Mix
from cnn_cli.nn.params import Parameters
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.rng import Purpose, generator
from cnn_cli.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnn_cli.runs.results import TrainResult
from cnn_cli.runs.state import TrainingState
from cnn_cli.training.diagnose import Origin, find_origin
from cnn_cli.training.divergence import go_back
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

LAYERS: list[Any] = [
    {"conv": {"out_channels": 4, "kernel_size": 3, "name": "stem"}},
    "relu",
    {"linear": {"out_features": "classes", "name": "head"}},
]
# Weight decay of 1 multiplies the weights by 1 - lr at each step. With the first lr and half of it
# they grow and overflow within the 60 steps of an epoch; with a quarter they nearly vanish.
WILD: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 1,
    "scheduler": "constant",
    "optimizer": {"type": "sgd", "lr": 3.9, "momentum": 0, "weight_decay": 1},
}
ROLLBACK = WILD | {"on_nan": "rollback"}
# Here the rate rises to 8 over both epochs, and overflow occurs in the second.
RISING = ROLLBACK | {
    "checkpoint_every": 25,
    "scheduler": {"type": "constant", "warmup_epochs": 2},
    "optimizer": WILD["optimizer"] | {"lr": 8},
}
HOPELESS = ROLLBACK | {"optimizer": WILD["optimizer"] | {"lr": 1000}}


class Watch(Silent):
    """Records reports, and requests a stop after some steps."""

    def __init__(self, requests: Requests | None = None, stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.requests = requests
        self.stop_after = stop_after

    def note(self, message: str) -> None:
        self.notes.append(message)

    def step(self, epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        self.steps.append((epoch, step))
        if self.requests is not None and len(self.steps) == self.stop_after:
            self.requests.ask_stop("terminated")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(
    pictures: Path,
    out: Path,
    keys: dict[str, Any],
    watch: Watch | None = None,
    **options: Any,
) -> TrainResult:
    watch = watch or Watch()
    document = config_document(pictures, **keys)
    document["model"]["layers"] = LAYERS
    config = validate_config(document, "test.yaml")
    given: dict[str, Any] = {"out": out, "threads": 2, "backend": "numpy"} | options
    requests = watch.requests or Requests()
    return train(config, "test.yaml", TrainOptions(**given), requests, watch)


def weights(run_folder: Path) -> dict[str, bytes]:
    groups = load_checkpoint(run_folder / "last.npz").groups
    return {
        f"{group}/{name}": array.tobytes()
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }


def rows(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "metrics.csv").open() as file:
        found = list(csv.DictReader(file))
    return [{key: row[key] for key in row if key in ("epoch", "train_loss", "lr")} for row in found]


def files_of_batch(pictures: Path, step: int, size: int, epoch: int = 1) -> list[str]:
    """Return the files of a step, counted from 1, with seed 0."""
    paths = open_dataset(pictures, None, 0.0).train.paths
    order = generator(0, Purpose.SHUFFLE, epoch - 1).permutation(len(paths))
    return [paths[i] for i in order[(step - 1) * size : step * size]]


def broken_start(pictures: Path, folder: Path, **changed: Any) -> Path:
    """Write a checkpoint of the network with other values in some arrays."""
    run(pictures, folder, {"epochs": 0})
    path = folder / "last.npz"
    checkpoint = load_checkpoint(path)
    for name, value in changed.items():
        checkpoint.groups["model"][name.replace("__", "/")][...] = value
    save_checkpoint(path, checkpoint)
    return path


def test_stop_names_layer_and_files(pictures: Path, tmp_path: Path) -> None:
    """Weights that overflow in the first layer."""
    start = broken_start(pictures, tmp_path / "start", stem__weight=3e38)
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", {"batch_size": 5, "weights": str(start)})
    a, b, c, *_ = files_of_batch(pictures, 1, 5)
    assert str(caught.value) == (
        "epoch 1, step 1: the loss must be finite; try a smaller train.optimizer.lr. "
        f"Got nan, first in the output of stem (conv), for {a}, {b}, {c} and 2 more."
    )
    assert not (tmp_path / "run/last.npz").exists()


def test_only_the_images_concerned_are_named(pictures: Path, tmp_path: Path) -> None:
    """A head that overflows for bright images only."""
    start = broken_start(pictures, tmp_path / "start", stem__weight=2e16, head__weight=1e20)
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", {"batch_size": 4, "weights": str(start)})
    bright = [path for path in files_of_batch(pictures, 1, 4) if "bright" in path]
    assert 0 < len(bright) < 4
    assert str(caught.value).endswith(
        f"first in the output of head (linear), for {' and '.join(bright)}."
    )


def test_a_gradient_that_is_not_finite(pictures: Path, tmp_path: Path) -> None:
    """Loss and outputs are finite; summed over the pixels, the stem's gradient overflows."""
    striped = np.array([[0], [0], [3e38]])
    start = broken_start(
        pictures, tmp_path / "start", stem__weight=2e-37, stem__bias=0, head__weight=striped
    )
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", {"batch_size": 5, "weights": str(start)})
    a, b, c, *_ = files_of_batch(pictures, 1, 5)
    assert str(caught.value) == (
        "epoch 1, step 1: the gradient must be finite; try a smaller train.optimizer.lr. "
        f"Got inf or nan, first in the gradient of stem (conv), for {a}, {b}, {c} and 2 more."
    )


def test_the_origin_in_mixed_images() -> None:
    """The second image is the bright one that overflows."""
    model = validate_config({"model": {"layers": LAYERS}}, "x").model
    graph = build_graph(model, (8, 8, 1), 3, "x")
    params = Parameters(graph, "float32")
    params.views[0]["weight"][...] = 3e38
    x = np.zeros((4, 8, 8, 1), np.uint8)
    x[1] = 255
    targets, divisor = target_weights(np.zeros(4, np.int64), 3)
    mix = Mix(np.array([3, 0, 1, 2]), np.zeros(4), np.zeros(4), np.zeros((4, 4), np.int64))

    def make_engine(graph: Graph, params: Parameters) -> TrainingEngine:
        return TrainingEngine(graph, params, threads=2)

    origin = find_origin(make_engine, params.graph, params, x, targets, divisor, step=0, mix=mix)
    assert origin == Origin("stem", "conv", "output", (2,))


def test_finding_the_origin_changes_nothing() -> None:
    """For a sound network with every kind of layer, nothing is found."""
    conv = {"conv": {"out_channels": 4, "kernel_size": 3, "padding": "same"}}
    layers = [
        conv,
        "batchnorm",
        {"leaky_relu": 0.1},
        {"residual": {"layers": [conv, {"groupnorm": 2}, "silu", {"dropout": 0.5}]}},
        {"branches": [[{"maxpool": 2}, "gelu"], [{"avgpool": 2}, "relu"]]},
        "global_avgpool",
        {"linear": "classes"},
    ]
    model = validate_config({"model": {"layers": layers}}, "x").model
    graph = build_graph(model, (8, 8, 1), 3, "x")
    params = Parameters(graph, "float32")
    initialize(params, 0, "pytorch")
    before = params.flat.copy(), params.flat_buffers.copy()
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    targets, divisor = target_weights(np.arange(6) % 3, 3)

    def make_engine(graph: Graph, params: Parameters) -> TrainingEngine:
        return TrainingEngine(graph, params, threads=2, scale=np.full(1, 0.01))

    assert find_origin(make_engine, params.graph, params, x, targets, divisor, step=0) is None
    params.views[0]["weight"][:, :, :, 1] = np.nan
    origin = find_origin(make_engine, params.graph, params, x, targets, divisor, step=0)
    assert origin == Origin("layers.0", "conv", "output", (0, 1, 2, 3, 4, 5))
    params.flat[:] = before[0]
    np.testing.assert_array_equal(params.flat_buffers, before[1])


def test_rollback_recovers(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "stop", WILD)
    assert not (tmp_path / "stop/last.npz").exists()
    watch = Watch()
    result = run(pictures, tmp_path / "run", ROLLBACK, watch)
    assert (result.epochs, result.stopped) == (2, None)
    assert [step for step in watch.steps if step[0] == 2] == [(2, step) for step in range(1, 61)]
    back = "Back to epoch 1, step 0, with half the learning rate"
    assert len(watch.notes) == 2
    assert watch.notes[0] == f"{caught.value} {back} (rollback 1 of 3)"
    assert watch.notes[1].endswith(f". {back} (rollback 2 of 3)")
    assert [row["lr"] for row in rows(tmp_path / "run")] == ["0.975", "0.975"]
    events = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    for event in events:
        del event["time"]
    assert [event["event"] for event in events] == ["start"] + 2 * ["rollback"] + 2 * ["epoch"]
    assert events[1] == {"event": "rollback", "epoch": 1, "step": 0, "lr_factor": 0.5}
    assert load_checkpoint(tmp_path / "run/last.npz").meta["state"]["lr_factor"] == 0.25


def test_back_to_the_last_checkpoint(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    run(pictures, tmp_path / "run", RISING, watch)
    places = [re.findall(r"epoch \d+, step \d+", note) for note in watch.notes]
    assert places == [
        ["epoch 2, step 46", "epoch 2, step 40"],
        ["epoch 2, step 50", "epoch 2, step 40"],
    ]
    assert watch.steps[104:107] == [(2, 45), (2, 41), (2, 42)]


def test_a_rollback_keeps_the_time_and_the_log(pictures: Path, tmp_path: Path) -> None:
    """The time that was lost has passed."""
    run(pictures, tmp_path, {"epochs": 1, "on_nan": "rollback"})
    last = tmp_path / "last.npz"
    failed = TrainingState.from_meta(load_checkpoint(last).meta, "last.npz")
    failed.seconds += 100
    failed.note_event("start")
    there = TrainingState.from_meta(go_back(last, failed).meta, "last.npz")
    assert there.seconds == failed.seconds
    assert [event["event"] for event in there.log][-2:] == ["start", "rollback"]
    assert there.lr_factor == failed.lr_factor / 2


def test_three_rollbacks_are_the_most(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", HOPELESS, watch)
    assert caught.value.code == 5
    assert len(watch.notes) == 3
    assert watch.notes[2].endswith("(rollback 3 of 3)")
    assert caught.value.rule == (
        "the loss must be finite; 3 rollbacks did not help; try a smaller train.optimizer.lr"
    )
    state = load_checkpoint(tmp_path / "run/last.npz").meta["state"]
    assert (state["epoch"], state["batch"], state["lr_factor"]) == (0, 0, 0.125)
    again = Watch()
    with pytest.raises(DivergedError) as second:
        run(pictures, tmp_path / "run", HOPELESS, again, resume=True)
    assert str(second.value) == str(caught.value)
    assert again.notes == []


def test_weights_that_are_not_finite_are_gone_back_from(pictures: Path, tmp_path: Path) -> None:
    """The loss of an epoch's only step is finite, and the weights after it are not."""
    keys = ROLLBACK | {"batch_size": 60, "optimizer": {"type": "sgd", "lr": 1e300}}
    watch = Watch()
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", keys, watch)
    error = "epoch 1, step 1: the weights must be finite; "
    advice = "try a smaller train.optimizer.lr."
    assert watch.notes[0] == (
        f"{error}{advice} Back to epoch 1, step 0, with half the learning rate (rollback 1 of 3)"
    )
    assert str(caught.value) == f"{error}3 rollbacks did not help; {advice}"


@pytest.mark.parametrize("stop_after", [75, 150])
def test_stopped_and_resumed_after_a_rollback_gives_the_same_bits(
    pictures: Path, tmp_path: Path, stop_after: int
) -> None:
    run(pictures, tmp_path / "whole", ROLLBACK)
    watch = Watch(Requests(), stop_after)
    assert run(pictures, tmp_path / "parts", ROLLBACK, watch).stopped == "terminated"
    assert len(watch.notes) == 2
    again = Watch()
    result = run(pictures, tmp_path / "parts", ROLLBACK, again, resume=True)
    assert (result.epochs, result.stopped, again.notes) == (2, None, [])
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


# Step 106 is the first that fails; the last scheduled checkpoint was written after step 100.
@pytest.mark.parametrize("stops", [[103], [105], [102, 2], [110], [61, 44, 3]], ids=str)
def test_stopped_before_a_rollback_and_resumed_gives_the_same_bits(
    pictures: Path, tmp_path: Path, stops: list[int]
) -> None:
    """A stop must not become the place of a rollback; stopping may detect broken weights a step
    earlier.
    """
    whole = Watch()
    run(pictures, tmp_path / "whole", RISING, whole)
    notes: list[str] = []
    for stop_after in stops:
        watch = Watch(Requests(), stop_after)
        result = run(pictures, tmp_path / "parts", RISING, watch, resume=True)
        assert result.stopped == "terminated"
        notes += watch.notes
    last = Watch()
    run(pictures, tmp_path / "parts", RISING, last, resume=True)
    ways_back = [note[note.index("Back to") :] for note in notes + last.notes]
    assert ways_back == [note[note.index("Back to") :] for note in whole.notes]
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert "rollback" not in load_checkpoint(tmp_path / "parts/last.npz").meta


def test_a_save_that_was_asked_for_is_no_place_to_go_back_to(
    pictures: Path, tmp_path: Path
) -> None:
    requests = Requests()
    watch, whole = Watch(requests), Watch()
    saved: list[int] = []

    def step(epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        watch.steps.append((epoch, step))
        if len(watch.steps) in (30, 104):
            requests.save = True
            saved.append(step)

    watch.step = step  # type: ignore[method-assign]  # to ask in between
    run(pictures, tmp_path / "asked", RISING, watch)
    run(pictures, tmp_path / "whole", RISING, whole)
    assert saved == [30, 44]
    assert watch.notes == whole.notes
    assert weights(tmp_path / "whole") == weights(tmp_path / "asked")


def test_a_stop_saves_even_if_the_way_back_is_lost(pictures: Path, tmp_path: Path) -> None:
    """The progress is worth more than the old checkpoint; the stop then becomes the place of a
    rollback.
    """
    watch, last = Watch(Requests(), 103), tmp_path / "run/last.npz"

    def step_and_damage(epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        Watch.step(watch, epoch, step, images, loss, top1)
        if len(watch.steps) == 103:
            last.write_bytes(b"damaged")

    watch.step = step_and_damage  # type: ignore[method-assign]  # to spoil the file in between
    assert run(pictures, tmp_path / "run", RISING, watch).stopped == "terminated"
    assert load_checkpoint(last).meta["step"] == 103
    again = Watch()
    assert run(pictures, tmp_path / "run", RISING, again, resume=True).epochs == 2
    assert "Back to epoch 2, step 43," in again.notes[0]


def test_what_is_carried_is_checked_like_the_rest(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "run/last.npz"
    run(pictures, tmp_path / "run", RISING, Watch(Requests(), 103))
    good = load_checkpoint(path)
    for broken, said in (
        (5, "meta.rollback must be a mapping."),
        ({"state": 5}, "must be a checkpoint that training can continue from."),
    ):
        save_checkpoint(path, Checkpoint(good.meta | {"rollback": broken}, good.groups))
        with pytest.raises(DataError) as caught:
            run(pictures, tmp_path / "run", RISING, resume=True)
        assert str(caught.value) == f"{path}: {said}"


def test_without_rollback_nothing_is_carried(pictures: Path, tmp_path: Path) -> None:
    keys = RISING | {"on_nan": "stop"}
    run(pictures, tmp_path / "run", keys, Watch(Requests(), 103))
    checkpoint = load_checkpoint(tmp_path / "run/last.npz")
    assert "rollback" not in checkpoint.meta
    assert checkpoint.groups.keys() == {"model", "optimizer"}


@pytest.mark.parametrize("kill_after", [3, 103, 106, 112, 116, 130])
def test_killed_at_any_step_and_resumed_gives_the_same_bits(
    pictures: Path, tmp_path: Path, kill_after: int
) -> None:
    """With the files in the middle of a step, before, between and after the rollbacks."""
    watch = Watch()

    def copy(epoch: int, step: int, images: int, loss: float, top1: float) -> None:
        watch.steps.append((epoch, step))
        if len(watch.steps) == kill_after:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    watch.step = copy  # type: ignore[method-assign]  # to look at the files in between
    run(pictures, tmp_path / "whole", RISING, watch)
    run(pictures, tmp_path / "killed", RISING, resume=True)
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")


def test_a_run_that_stopped_may_be_resumed_with_rollback(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        run(pictures, tmp_path / "run", RISING | {"on_nan": "stop"})
    run(pictures, tmp_path / "whole", RISING)
    run(pictures, tmp_path / "run", RISING, resume=True)
    assert weights(tmp_path / "whole") == weights(tmp_path / "run")


def test_a_state_of_before_there_were_rollbacks() -> None:
    state = TrainingState().as_meta()
    del state["lr_factor"]
    read = TrainingState.from_meta({"state": state}, "old.npz")
    assert (read.lr_factor, read.rollbacks) == (1.0, 0)


@pytest.mark.parametrize("factor", [0, -1, 2, None, "x", float("nan")])
def test_an_impossible_factor(factor: Any) -> None:
    state = TrainingState().as_meta() | {"lr_factor": factor}
    with pytest.raises(DataError) as caught:
        TrainingState.from_meta({"state": state}, "a.npz")
    assert str(caught.value) == "a.npz: must be a checkpoint that training can continue from."
