"""`train.tensorboard`: its files, no effect on training, and what a resume overrides."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learnable import CLASSES, config_document, make_pictures
from PIL import Image

from cnn_cli.config import validate_config
from cnn_cli.errors import ConfigError, DataError
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.runs.folder import TENSORBOARD, RunFolder
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.tensorboard import confusion_picture, grid
from cnn_cli.training.train import train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def run(pictures: Path, out: Path, options: dict[str, Any] | None = None, **keys: Any) -> None:
    config = validate_config(config_document(pictures, **keys), "test.yaml")
    given: dict[str, Any] = {"out": out, "threads": 2, "backend": "numpy"} | (options or {})
    train(config, "test.yaml", TrainOptions(**given), Requests(), Silent())


def events(folder: Path) -> list[list[Any]]:
    """Return the events of each file, in the order of creation."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    paths = sorted((folder / TENSORBOARD).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [[event_pb2.Event.FromString(each) for each in records(path)] for path in paths]


def records(path: Path) -> Iterator[bytes]:
    """Yield records of the TFRecord format: a length, its checksum, the bytes and their
    checksum.
    """
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def values(found: list[Any]) -> dict[tuple[str, int], Any]:
    return {(each.tag, event.step): each for event in found for each in event.summary.value}


def test_epochs_are_written_as_metrics_csv_has_them(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run(pictures, tmp_path / "run", epochs=2, tensorboard=True)
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    (found,) = events(tmp_path / "run")
    of = values(found)
    for row in rows:
        numbers = dict(zip(header.split(","), row.split(","), strict=True))
        step = int(numbers["epoch"])
        for column, tag in (
            ("train_loss", "train/loss"),
            ("val_top1", "val/top1"),
            ("val_macro_f1", "val/macro_f1"),
            ("lr", "lr"),
        ):
            if column in numbers:
                assert of[tag, step].simple_value == pytest.approx(float(numbers[column]), rel=1e-4)
    assert {step for _, step in of} == {0, 1, 2}
    samples = Image.open(io.BytesIO(of["train/samples", 0].image.encoded_image_string))
    assert samples.size == (of["train/samples", 0].image.width,) * 2
    confusion = of["val/confusion", 1].image
    assert confusion.height == confusion.width == 512 // len(CLASSES) * len(CLASSES)


def test_the_training_is_the_same_to_the_last_bit(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    runs = []
    for name, chosen in (("with", True), ("without", False)):
        augment = {"augment": {"hflip": True, "mixup": 0.2}}
        document = config_document(pictures, epochs=2, tensorboard=chosen) | augment
        config = validate_config(document, "test.yaml")
        options = TrainOptions(out=tmp_path / name, threads=2, backend="numpy")
        train(config, "test.yaml", options, Requests(), Silent())
        groups = load_checkpoint(tmp_path / name / "last.npz").groups
        runs.append({(g, key): x.tobytes() for g, of in groups.items() for key, x in of.items()})
    assert runs[0] == runs[1]
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("with", "without")]
    assert names[0] - names[1] == {TENSORBOARD}


def test_a_resumed_run_takes_back_what_it_does_again(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run(pictures, tmp_path / "run", epochs=2, tensorboard=True)
    run(pictures, tmp_path / "run", {"resume": True}, epochs=3, tensorboard=True)
    first, second = events(tmp_path / "run")
    assert {step for _, step in values(first)} == {0, 1, 2}
    assert {step for _, step in values(second)} == {3}
    starts = [event for event in second if event.HasField("session_log")]
    assert [event.step for event in starts] == [3]  # it hides steps from 3 on in older files


def test_a_resumed_run_may_begin_with_it_and_end_it(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run(pictures, tmp_path / "run", epochs=1)
    assert not (tmp_path / "run" / TENSORBOARD).exists()
    run(pictures, tmp_path / "run", {"resume": True}, epochs=2, tensorboard=True)
    (found,) = events(tmp_path / "run")
    assert {step for _, step in values(found)} == {2}
    run(pictures, tmp_path / "run", {"resume": True}, epochs=3)
    assert len(events(tmp_path / "run")) == 1


def test_overwriting_a_run_deletes_its_events_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / TENSORBOARD
    folder.mkdir()
    (folder / "events.out.tfevents.1700000000.host.1.0").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    with RunFolder(tmp_path) as place:
        place.clear()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    with RunFolder(tmp_path) as place:
        place.clear()
    assert not folder.exists()


def test_events_that_cannot_be_written_end_the_training(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / TENSORBOARD).write_text("a file")
    place = tmp_path / "run" / TENSORBOARD
    with pytest.raises(DataError) as caught:
        run(pictures, tmp_path / "run", epochs=1, tensorboard=True)
    assert caught.value.line().startswith(f"{place}: must be a folder that can be written to.")


def test_without_the_extra_it_is_refused_before_anything_is_read(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_cli.training.setup.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        run(pictures, tmp_path / "run", epochs=1, tensorboard=True)
    assert caught.value.line() == (
        "test.yaml: train.tensorboard: needs tensorboardX; "
        "install it with pip install 'cnn-cli[tensorboard]'."
    )
    assert not (tmp_path / "run").exists()


def test_a_grid_is_filled_up_with_black() -> None:
    images = [np.full((2, 3, 1), value, np.uint8) for value in (1, 2, 3)]
    expected = [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 0, 0, 0]] * 2
    np.testing.assert_array_equal(grid(images)[..., 0], expected)


def test_a_confusion_matrix_is_dark_where_images_are() -> None:
    picture = confusion_picture(np.array([[2, 0], [0, 0]]))
    assert picture.shape == (512, 512, 3)
    assert picture[0, 0].tolist() == [8, 48, 107]
    assert picture[0, 511].tolist() == picture[511, 511].tolist() == [255, 255, 255]
