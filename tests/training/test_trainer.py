"""Training as a whole: files, resuming, and the effects of interruptions."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from learnable import CLASSES, config_document, make_pictures

from cnn_cli.config import load_config, validate_config
from cnn_cli.data.decode import load_image
from cnn_cli.errors import ConfigError, DataError, DivergedError, LockedError, UsageError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.folder import RunFolder, choose_folder
from cnn_cli.runs.results import EpochRow, TrainResult
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.planning import plan_training
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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


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


def test_learns_and_writes_the_run_folder(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = run(pictures, tmp_path / "run", watch)
    assert result.epochs == 3
    assert result.stopped is None
    assert result.last is not None
    assert result.last.val_top1 is not None
    assert result.last.val_top1 >= 0.9
    assert [row.epoch for row in watch.rows] == [1, 2, 3]
    assert watch.steps == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3, 4)]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    reports = {"metrics.csv", "log.jsonl", "receipt.csv"}
    assert names == {".lock", "config.yaml", "last.npz", "best.npz"} | reports
    table = rows_without_times(tmp_path / "run")
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["start", "epoch", "epoch", "epoch"]


@pytest.mark.parametrize("ends", ["at its end", "by a stop", "by an error"])
def test_no_thread_and_no_bar_outlives_it(pictures: Path, tmp_path: Path, ends: str) -> None:
    requests, closed = Requests(), []

    def act(epoch: int, step: int) -> None:
        if ends == "by a stop":
            requests.ask_stop("terminated")
        elif ends == "by an error":
            raise KeyError(step)

    watch = Watch(act)
    watch.close = lambda: closed.append(ends)  # type: ignore[method-assign]
    before = set(threading.enumerate())
    with pytest.raises(KeyError) if ends == "by an error" else nullcontext():
        run(pictures, tmp_path / "run", watch, requests)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive(), thread
    assert closed == [ends]


def test_best_is_the_epoch_of_the_highest_val_top1(pictures: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = run(pictures, tmp_path / "run", watch, epochs=5)
    best = max(watch.rows, key=lambda row: (row.val_top1 or 0, -(row.val_loss or 0)))
    assert result.best_epoch == best.epoch
    assert load_checkpoint(tmp_path / "run" / "best.npz").meta["epoch"] == result.best_epoch


def test_the_written_config_trains_the_same_network_again(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run")
    config = load_config(tmp_path / "run" / "config.yaml")
    options = TrainOptions(out=tmp_path / "again", threads=2, backend="numpy")
    train(config, "config.yaml", options, Requests(), Watch())
    assert weights(tmp_path / "run") == weights(tmp_path / "again")


@pytest.mark.parametrize("stop_at", [(1, 1), (1, 4), (2, 2), (3, 3), (3, 4)])
def test_stopped_and_resumed_gives_the_same_bits(
    pictures: Path, tmp_path: Path, stop_at: tuple[int, int]
) -> None:
    run(pictures, tmp_path / "whole")
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == stop_at:
            requests.ask_stop("terminated")

    result = run(pictures, tmp_path / "parts", Watch(stop), requests)
    assert result.stopped == "terminated"
    result = run(pictures, tmp_path / "parts", options={"resume": True, "threads": None})
    assert result.stopped is None
    assert result.epochs == 3
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows_without_times(tmp_path / "whole") == rows_without_times(tmp_path / "parts")


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": {"type": "adamw", "lr": 0.01}, "precise_bn": True},
        {"batch_size": 7, "clip_grad_norm": 0.5, "label_smoothing": 0.1},
        {"class_weights": "balanced", "dtype": "float64", "scheduler": "constant"},
        {"loss": "focal", "class_weights": "balanced"},
        {"loss": "bce", "class_weights": "balanced", "label_smoothing": 0.1},
        {"ema": 0.9, "precise_bn": True},
        {"accumulate": 3, "batch_size": 8, "ema": 0.9, "clip_grad_norm": 0.5},
        {"optimizer": {"type": "muon", "other": "adamw"}},
        {"lookahead": {"every": 3, "power": 3}},
        {
            "optimizer": {"type": "sgd", "lr": 0.05, "norm_weight_decay": 0.0},
            "lr_factors": {"batchnorm.bias": 8.0},
            "layer_decay": 0.5,
            "weight_decay_factors": {"linear.*": 2.0},
            "freeze": {"stem.bias": 1, "stem.weight": 2, "layers.1.*": 1},
            "scheduler": {"type": "plateau", "patience": 0, "threshold": 0.5},
        },
    ],
)
def test_resume_gives_the_same_bits_with_every_technique(
    pictures: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    run(pictures, tmp_path / "whole", **keys)
    requests = Requests()
    batch = 4 if "accumulate" in keys else 2  # the first of an update, or in the middle of one

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, batch):
            requests.ask_stop("time limit")

    run(pictures, tmp_path / "parts", Watch(stop), requests, **keys)
    run(pictures, tmp_path / "parts", options={"resume": True}, **keys)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_thread_count_changes_rounding_only(pictures: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        run(pictures, tmp_path / str(threads), options={"threads": threads}, dtype="float64")
    one, three = (load_checkpoint(tmp_path / str(n) / "last.npz").groups["model"] for n in (1, 3))
    for name, array in one.items():
        np.testing.assert_allclose(array, three[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_finished_run_goes_further_with_more_epochs(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run")
    watch = Watch()
    resume = {"resume": True}
    assert run(pictures, tmp_path / "run", watch, options=resume).epochs == 3
    assert watch.steps == []
    result = run(pictures, tmp_path / "run", watch, options=resume, epochs=5)
    assert result.epochs == 5
    assert watch.steps[0] == (4, 1)
    assert [row["epoch"] for row in rows_without_times(tmp_path / "run")] == list("12345")


def test_resume_refuses_another_config(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, batch_size=8, seed=1)
    assert str(caught.value) == (
        "test.yaml: a resumed run keeps its config; only train.epochs and limits may change. "
        "Got another train.batch_size, train.seed."
    )


def test_resume_says_that_the_data_changed(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    (pictures / "train" / "dark" / "0.png").unlink()
    watch = Watch()
    run(pictures, tmp_path / "run", watch, options={"resume": True}, epochs=2)
    assert watch.notes == [
        "the data changed since the run began: 18 training and 6 validation images then, "
        "17 and 6 now"
    ]


def test_resume_refuses_other_classes(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    for part in ("train", "val"):
        (pictures / part / "bright").rename(pictures / part / "zebra")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, epochs=2)
    assert str(caught.value) == (
        f"{pictures}: a resumed run keeps its classes, bright, dark, striped. "
        "Got dark, striped, zebra."
    )


def test_resume_refuses_a_class_more(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "run", epochs=1)
    shutil.copytree(pictures / "train/dark", pictures / "train/zebra")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run", options={"resume": True}, epochs=2)
    assert str(caught.value) == (
        f"{pictures}: a resumed run keeps its classes, bright, dark, striped. "
        "Got bright, dark, striped, zebra."
    )


def test_resume_finds_pictures_that_were_moved(tmp_path: Path) -> None:
    """With the same bits; refused if images differ, were renamed, or are missing."""
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    run(pictures, tmp_path / "whole", epochs=2)
    requests = Requests()
    watch = Watch(lambda epoch, step: requests.ask_stop("time limit"))
    run(pictures, tmp_path / "run", watch, requests, epochs=2)
    moved = pictures.rename(tmp_path / "moved")
    resume = {"resume": True}
    first = moved / "train/bright/0.png"
    content = first.read_bytes()
    rule = f"{moved}: a resumed run must find the same images. Got "

    def refused() -> str:
        with pytest.raises(DataError) as caught:
            run(moved, tmp_path / "run", options=resume, epochs=2)
        return str(caught.value).removeprefix(rule)

    first.write_bytes((moved / "train/dark/0.png").read_bytes())
    assert refused() == "files with the same names but different content."
    first.unlink()
    assert refused() == "17 and 6 to train and validate on, not 18 and 6."
    (moved / "train/bright/other.png").write_bytes(content)
    assert refused() == "other names."
    (moved / "train/bright/other.png").rename(first)
    assert run(moved, tmp_path / "run", options=resume, epochs=2).epochs == 2
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["data"]["root"] == str(moved)


def test_names_may_change_their_unicode_form_as_pictures_move(tmp_path: Path) -> None:
    """From Linux to macOS, where names of folders and files have another form."""
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    for part in ("train", "val"):
        (pictures / part / "dark").rename(pictures / part / "d\u00e9")
    run(pictures, tmp_path / "run", epochs=1)
    moved = pictures.rename(tmp_path / "moved")
    for part in ("train", "val"):
        (moved / part / "d\u00e9").rename(moved / part / "de\u0301")
    assert run(moved, tmp_path / "run", options={"resume": True}, epochs=2).epochs == 2
    assert "d\u00e9" in load_checkpoint(tmp_path / "run" / "last.npz").meta["classes"]


def test_planning_refuses_what_training_would(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=1)
    other = validate_config(config_document(pictures, batch_size=8), "x.yaml")
    resume = TrainOptions(out=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"Got another train\.batch_size"):
        plan_training(other, "x.yaml", resume)
    gone = validate_config(config_document(pictures, weights=str(tmp_path / "no.npz")), "x.yaml")
    with pytest.raises(DataError, match="no such file"):
        plan_training(gone, "x.yaml", TrainOptions(tmp_path / "a"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        plan_training(other, "x.yaml", TrainOptions(out=tmp_path / "file" / "run"))
    rule = "must be a folder that can be written to"
    assert str(caught.value) == f"{tmp_path}/file/run: {rule}. Got a file, {tmp_path}/file."


def test_no_epochs_write_the_initial_weights(pictures: Path, tmp_path: Path) -> None:
    result = run(pictures, tmp_path / "run", epochs=0)
    assert result.epochs == 0
    assert result.last is None
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.classes == CLASSES
    assert classifier.path.name == "last.npz"


def test_steps_between_checkpoints(pictures: Path, tmp_path: Path) -> None:
    seen = []

    def look(epoch: int, step: int) -> None:
        path = tmp_path / "run" / "last.npz"
        seen.append(load_checkpoint(path).meta["step"] if path.exists() else None)

    run(pictures, tmp_path / "run", Watch(look), epochs=1, checkpoint_every=2)
    assert seen == [None, None, 2, 2]  # checked before the step's own checkpoint


def test_a_checkpoint_on_request(pictures: Path, tmp_path: Path) -> None:
    requests = Requests(save=True)
    seen = []

    def look(epoch: int, step: int) -> None:
        path = tmp_path / "run" / "last.npz"
        seen.append(load_checkpoint(path).meta["step"] if path.exists() else None)

    run(pictures, tmp_path / "run", Watch(look), requests, epochs=1)
    assert seen == [None, 1, 1, 1]


def test_early_stop_is_final(pictures: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"epochs": 30, "early_stop": 2, "optimizer": {"type": "sgd", "lr": 0.0}}
    result = run(pictures, tmp_path / "run", **keys)
    assert (result.epochs, result.stopped) == (3, "early stop")
    watch = Watch()
    again = run(pictures, tmp_path / "run", watch, options={"resume": True}, **keys)
    assert (again.epochs, again.stopped, watch.steps) == (3, "early stop", [])


def test_without_validation_the_last_epoch_is_best(pictures: Path, tmp_path: Path) -> None:
    document = config_document(pictures / "train")
    document["data"]["val_split"] = 0
    config = validate_config(document, "test.yaml")
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    result = train(config, "test.yaml", options, Requests(), Watch())
    assert result.best_epoch == 3
    rows = rows_without_times(tmp_path / "run")
    assert [(row["val_loss"], row["val_top1"]) for row in rows] == [("", "")] * 3
    best, last = (load_checkpoint(tmp_path / "run" / f"{name}.npz") for name in ("best", "last"))
    assert best.meta["epoch"] == last.meta["epoch"] == 3
    for name, array in (last.groups["model"] | last.groups["precise_bn"]).items():
        np.testing.assert_array_equal(best.groups["model"][name], array)


def test_precise_statistics_serve_evaluation_only(pictures: Path, tmp_path: Path) -> None:
    """Batches of 4 give noisy running statistics; the estimate equals the training images'
    statistics.
    """
    run(pictures, tmp_path / "run", batch_size=4, epochs=1)
    last = load_checkpoint(tmp_path / "run" / "last.npz")
    precise = last.groups["precise_bn"]
    running = {name: last.groups["model"][name] for name in precise}
    assert set(precise) == {"layers.1/running_mean", "layers.1/running_var"}
    classifier = Classifier.load(tmp_path / "run" / "best.npz")
    buffers = classifier.params.named_buffers()
    for name, estimate in precise.items():
        np.testing.assert_array_equal(buffers[name], estimate)
        assert np.abs(estimate - running[name]).max() > 0
    # The first layer's statistics do not depend on batches: recompute them from the images.
    paths = sorted((pictures / "train").rglob("*.png"))
    scale, shift = classifier.normalization.scale_and_shift()
    x = np.stack([load_image(path, classifier.preprocess) for path in paths]) * scale + shift
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    weight = classifier.params.named()["stem/weight"]
    y = np.einsum("nhwcij,ocij->nhwo", windows, weight) + classifier.params.named()["stem/bias"]
    flat = y.reshape(-1, 6)
    np.testing.assert_allclose(buffers["layers.1/running_mean"], flat.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(buffers["layers.1/running_var"], flat.var(axis=0, ddof=1), rtol=1e-4)


def test_a_single_last_image_is_left_out_where_batchnorm_would_see_one_value(
    tmp_path: Path,
) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=3, val=1)  # 9 images
    document = config_document(pictures, epochs=1, batch_size=4)
    document["model"]["layers"] = ["global_avgpool", "batchnorm", {"linear": "classes"}]
    watch = Watch()
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    train(validate_config(document, "x"), "x", options, Requests(), watch)
    assert [step for _, step in watch.steps] == [1, 2, 3]
    assert np.isfinite(watch.rows[0].train_loss)


def test_divergence(pictures: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"optimizer": {"type": "sgd", "lr": 1e30}, "scheduler": "constant"}
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "run", **keys)
    assert str(caught.value).startswith("epoch 1, step 2: the loss must be finite; try a smaller")


def test_divergence_in_the_last_step_of_an_epoch_is_not_saved(
    pictures: Path, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"batch_size": 60, "scheduler": "constant"}
    run(pictures, tmp_path / "run", epochs=1, **keys)
    before = weights(tmp_path / "run")
    keys["optimizer"] = {"type": "sgd", "lr": 1e300}
    with pytest.raises(DivergedError) as caught:
        run(pictures, tmp_path / "other", epochs=1, **keys)
    assert str(caught.value) == (
        "epoch 1, step 1: the weights must be finite; try a smaller train.optimizer.lr."
    )
    assert not (tmp_path / "other" / "last.npz").exists()
    assert weights(tmp_path / "run") == before


def test_bad_files_are_left_out_and_listed(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    bad = pictures / "train" / "dark" / "broken.png"
    bad.write_bytes(b"not a picture")
    result = run(pictures, tmp_path / "run", epochs=1)
    assert result.bad_files == 1
    text = (tmp_path / "run" / "bad_files.txt").read_text()
    assert text == f"{bad}\tnot an image Pillow can read\n"


def test_no_validation_image_can_be_read(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    for path in (pictures / "val").rglob("*.png"):
        path.write_bytes(b"not a picture")
    watch = Watch()
    config = validate_config(config_document(pictures, epochs=2), "x")
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    result = train(config, "x", options, Requests(), watch)
    assert [row.val_top1 for row in watch.rows] == [None, None]
    assert result.bad_files == 6
    said = [note for note in watch.notes if "validation" in note]
    assert said == [
        f"{pictures}: none of the 6 validation images can be read, so no epoch is evaluated; "
        "see bad_files.txt"
    ]


def test_bad_files_can_be_errors(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", train=6, val=2)
    (pictures / "train" / "dark" / "broken.png").write_bytes(b"not a picture")
    document = config_document(pictures)
    document["data"]["on_corrupt"] = "error"
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    with pytest.raises(DataError, match=r"broken\.png"):
        train(validate_config(document, "x"), "x", options, Requests(), Watch())


def test_first_weights_from_another_run(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "first")
    run(pictures, tmp_path / "second", weights=str(tmp_path / "first" / "last.npz"), epochs=0)
    first, second = (
        load_checkpoint(tmp_path / name / "last.npz").groups["model"]
        for name in ("first", "second")
    )
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_too_little_memory_is_said_before_anything_is_allocated(
    pictures: Path, tmp_path: Path
) -> None:
    document = config_document(pictures)
    document["model"]["layers"][0]["conv"]["out_channels"] = 10**9
    config = validate_config(document, "x.yaml")
    options = TrainOptions(out=tmp_path / "run", threads=1, backend="numpy")
    with pytest.raises(ConfigError, match=r"x\.yaml: model: the network needs more memory"):
        train(config, "x.yaml", options, Requests(), Watch())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"x\.yaml: model: the network needs more memory"):
        plan_training(config, "x.yaml", options)


def test_planning_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    config = validate_config(config_document(pictures), "x.yaml")
    plan = plan_training(config, "x.yaml", TrainOptions(out=tmp_path / "run"))
    assert plan.as_dict()["train_images"] == 60
    assert any("60" in line for line in plan.lines())
    assert list(tmp_path.iterdir()) == []


def test_run_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def choose(**flags: bool) -> str:
        defaults = {"resume": False, "overwrite": False}
        return str(choose_folder(None, "configs/small.yaml", **(defaults | flags)))

    assert choose() == choose(resume=True) == "runs/small"
    for name in ("small", "small-2", "small-4"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "last.npz").touch()
    assert choose() == "runs/small-5"
    assert choose(resume=True) == "runs/small-4"
    with RunFolder(Path("runs/small-5")):  # another process, before its first checkpoint
        assert choose() == "runs/small-6"
    assert choose(overwrite=True) == "runs/small"


def test_an_out_that_holds_a_run_is_refused(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "run", epochs=0)
    before = weights(tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        run(pictures, tmp_path / "run")
    assert str(caught.value) == (
        f"--out {tmp_path}/run: holds a run; give --resume or --overwrite to use it."
    )
    assert weights(tmp_path / "run") == before
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run(pictures, tmp_path / "run", options={"overwrite": True}, epochs=1)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_one_process_at_a_time(pictures: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"), pytest.raises(LockedError) as caught:
        run(pictures, tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path}/run: another process is training into this run folder."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_that_cannot_be_written(pictures: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError):
        run(pictures, tmp_path / "run")


def test_an_out_that_is_a_file(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run")
    assert caught.value.code == 4


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_compiled_kernels_train_the_same_network(pictures: Path, tmp_path: Path) -> None:
    run(pictures, tmp_path / "numpy", epochs=1)
    run(pictures, tmp_path / "fast", options={"backend": "fast"}, epochs=1)
    assert load_checkpoint(tmp_path / "fast" / "last.npz").meta["backend"] == "fast"
    ours, theirs = (
        load_checkpoint(tmp_path / name / "last.npz").groups["model"] for name in ("fast", "numpy")
    )
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=2e-3, err_msg=name)
    # A resumed run keeps its backend.
    run(pictures, tmp_path / "fast", options={"resume": True, "backend": None}, epochs=2)
    assert load_checkpoint(tmp_path / "fast" / "last.npz").meta["backend"] == "fast"


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_resume_gives_the_same_bits_with_compiled_kernels(pictures: Path, tmp_path: Path) -> None:
    options = {"backend": "fast", "threads": 2}
    run(pictures, tmp_path / "whole", options=options, epochs=2)
    requests = Requests()

    def stop(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 2):
            requests.ask_stop("terminated")

    run(pictures, tmp_path / "parts", Watch(stop), requests, options=options, epochs=2)
    resumed = {"resume": True, "backend": None, "threads": None}
    run(pictures, tmp_path / "parts", options=resumed, epochs=2)
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    assert rows_without_times(tmp_path / "whole") == rows_without_times(tmp_path / "parts")
