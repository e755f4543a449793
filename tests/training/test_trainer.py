"""Training as a whole: what it computes, writes and leaves out."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import CLASSES, config_document, make_pictures
from short_training import Watch, rows_without_times, run, weights

from cnn_cli.config import load_config, validate_config
from cnn_cli.data.decode import load_image
from cnn_cli.errors import DataError, DivergedError
from cnn_cli.inference.classifier import Classifier
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


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
    watch.close = lambda: closed.append(ends)  # type: ignore[method-assign]  # to see it
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


def test_thread_count_changes_rounding_only(pictures: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        run(pictures, tmp_path / str(threads), options={"threads": threads}, dtype="float64")
    one, three = (load_checkpoint(tmp_path / str(n) / "last.npz").groups["model"] for n in (1, 3))
    for name, array in one.items():
        np.testing.assert_allclose(array, three[name], rtol=1e-6, atol=1e-9, err_msg=name)


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
    assert result.bad_files == {str(bad): "not an image Pillow can read"}
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
    assert len(result.bad_files) == 6
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
