"""Class folders and split folders, and their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from data_samples import make_folders

from cnn_cli.data.dataset import Split
from cnn_cli.data.opening import open_dataset, open_labeled
from cnn_cli.data.roots import KINDS
from cnn_cli.errors import DataError, ExitCode


def pairs(split: Split | None, root: Path) -> list[tuple[str, int]]:
    assert split is not None
    below = [str(Path(path).relative_to(root)) for path in split.paths]
    return list(zip(below, split.labels.tolist(), strict=True))


def error_of(root: Path, classes: list[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(root, classes, 0.1)
    assert caught.value.code == ExitCode.DATA
    return caught.value.line()


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    make_folders(tmp_path / "train", {"cat": 2, "dog": 1})
    make_folders(tmp_path / "val", {"dog": 2})
    make_folders(tmp_path / "test", {"cat": 1, "dog": 0})
    return tmp_path


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("known", "written"), [(NFC, NFD), (NFD, NFC)])
def test_accents_in_another_unicode_form(tmp_path: Path, known: str, written: str) -> None:
    """As macOS writes names of folders created elsewhere."""
    make_folders(tmp_path / "train", {known: 2, "cafz": 1})
    make_folders(tmp_path / "val", {written: 2})
    names = tuple(sorted([known, "cafz"]))
    data = open_dataset(tmp_path, None, 0)
    assert data.classes == names
    assert data.val is not None
    assert data.val.labels.tolist() == [names.index(known)] * 2
    assert open_labeled(tmp_path, [known, "cafz"], "val").labels.tolist() == [0, 0]
    (tmp_path / "train" / known).rename(tmp_path / "train" / written)
    assert open_dataset(tmp_path, ["cafz", known], 0).train.labels.tolist() == [0, 1, 1]
    assert open_dataset(tmp_path, None, 0, before=names).classes == names  # for a resumed run
    assert open_dataset(tmp_path, None, 0, before=["a"]).classes == tuple(sorted([written, "cafz"]))


def test_two_unicode_forms_of_one_class(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {NFC: 2, "cafz": 1})
    make_folders(tmp_path / "val", {NFC: 1, NFD: 2})
    assert error_of(tmp_path) == (
        f"{tmp_path / 'val' / NFD}: must be one folder for the class '{NFC}'. "
        "Got two, whose names differ in their Unicode form only."
    )


def test_class_folders(tmp_path: Path) -> None:
    data = open_dataset(make_folders(tmp_path, {"dog": 1, "cat": 2, ".git": 1}), None, 0)
    assert data.root == tmp_path
    assert data.classes == ("cat", "dog")
    assert pairs(data.train, tmp_path) == [
        ("cat/000.png", 0),
        ("cat/001.png", 0),
        ("dog/000.png", 1),
    ]
    assert len(data.train) == 3
    assert data.val is None
    assert data.test is None


def test_split_folders_match_classes_by_name(splits: Path) -> None:
    data = open_dataset(splits, None, 0.5)
    assert data.classes == ("cat", "dog")
    assert len(data.train) == 3
    assert pairs(data.val, splits) == [("val/dog/000.png", 1), ("val/dog/001.png", 1)]
    assert pairs(data.test, splits) == [("test/cat/000.png", 0)]


def test_configured_classes_fix_the_order(splits: Path) -> None:
    data = open_dataset(splits, ["dog", "cat"], 0.5)
    assert data.classes == ("dog", "cat")
    assert data.train.labels.tolist() == [0, 1, 1]
    assert pairs(data.val, splits) == [("val/dog/000.png", 0), ("val/dog/001.png", 0)]


def test_configured_classes_may_leave_some_out(splits: Path) -> None:
    for part in ("train", "val"):
        make_folders(splits / part, {"cow": 2})
    data = open_dataset(splits, ["cat", "dog"], 0.5)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert len(data.val or []) == 2


def test_without_val_folder_some_of_train_is_held_back(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {"cat": 20, "dog": 20})
    make_folders(tmp_path / "test", {"cat": 1, "dog": 1})
    data = open_dataset(tmp_path, None, 0.3)
    assert len(data.train) + len(data.val or []) == 40
    assert data.val
    assert all("/train/" in path for path in data.val.paths)


def test_no_class_loses_all_its_images_to_validation(tmp_path: Path) -> None:
    data = open_dataset(make_folders(tmp_path, {"cat": 1, "dog": 30}), None, 0.999999)
    assert np.bincount(data.train.labels).tolist() == [1, 1]
    assert data.val is not None
    assert data.val.labels.tolist() == [1] * 29


def test_a_share_that_takes_one_of_a_few_images(tmp_path: Path) -> None:
    data = open_dataset(make_folders(tmp_path, {"cat": 2, "dog": 2}), None, 1e-9)
    assert data.val is not None
    assert data.val.labels.tolist() == data.train.labels.tolist() == [0, 1]


def test_root_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    assert error_of(root) == (
        f"{root}: must be a folder with a sub-folder of images for each class. Got no such folder."
    )


def test_root_is_a_file(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.touch()
    assert error_of(root) == (
        f"{root}: must be a folder with a sub-folder of images for each class, {KINDS}. "
        "Got another file."
    )


def test_root_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert error_of(tmp_path) == (
        f"{tmp_path}: must be a folder with a sub-folder of images for each class. "
        "Got no sub-folder."
    )


def test_train_is_empty(tmp_path: Path) -> None:
    make_folders(tmp_path, {"train": 3})
    assert error_of(tmp_path) == (
        f"{tmp_path}/train: must be a folder with a sub-folder of images for each class. "
        "Got no sub-folder."
    )


def test_no_train_folder(tmp_path: Path) -> None:
    make_folders(tmp_path, {"test": 0, "valid": 0})
    assert error_of(tmp_path) == f"{tmp_path}: must have a 'train' folder. Got test, valid."


def test_one_class(tmp_path: Path) -> None:
    make_folders(tmp_path, {"cat": 3})
    assert error_of(tmp_path) == f"{tmp_path}: must hold at least two classes. Got one: 'cat'."


def test_an_empty_class(tmp_path: Path) -> None:
    make_folders(tmp_path, {"cat": 3, "cow": 0, "dog": 1})
    (tmp_path / "cow" / "notes.txt").touch()
    assert error_of(tmp_path) == f"{tmp_path}/cow: must hold at least one image. Got none."


def test_val_without_images(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {"cat": 1, "dog": 1})
    make_folders(tmp_path / "val", {"cat": 0})
    assert error_of(tmp_path) == f"{tmp_path}/val: must hold at least one image. Got none."


def test_val_has_a_class_that_train_has_not(splits: Path) -> None:
    make_folders(splits / "val", {"dgo": 1})
    assert error_of(splits) == (
        f"{splits}/val/dgo: must be a class that train has. Did you mean 'dog'?"
    )


def test_configured_class_has_no_folder(splits: Path) -> None:
    assert error_of(splits, ["cat", "dgo"]) == (
        f"{splits}/train: must have a folder for the class 'dgo'. Did you mean 'dog'?"
    )
    assert error_of(splits, ["cat", "zebra"]) == (
        f"{splits}/train: must have a folder for the class 'zebra'."
    )


@pytest.mark.parametrize(
    ("split", "labels"),
    [("train", [1, 1, 0]), ("val", [0, 0]), ("test", [1]), ("all", [1, 1, 0, 1, 0, 0])],
)
def test_evaluating_a_folder_with_splits(
    splits: Path, split: Literal["train", "val", "test", "all"], labels: list[int]
) -> None:
    found = open_labeled(splits, ["dog", "cat"], split)
    assert sorted(found.labels.tolist()) == sorted(labels)
    names = [Path(path).parent.name for path in found.paths]
    assert names == [["dog", "cat"][label] for label in found.labels]


@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_evaluating_a_folder_without_splits(
    tmp_path: Path, split: Literal["train", "val", "test", "all"]
) -> None:
    make_folders(tmp_path, {"cat": 2})
    found = open_labeled(tmp_path, ["ant", "cat"], split)
    np.testing.assert_array_equal(found.labels, [1, 1])


def labeled_error(
    root: Path, classes: list[str], split: Literal["train", "val", "test", "all"]
) -> str:
    with pytest.raises(DataError) as caught:
        open_labeled(root, classes, split)
    return caught.value.line()


def test_evaluating_a_split_that_is_not_there(tmp_path: Path) -> None:
    make_folders(tmp_path, {"train": 0, "validation": 0})
    assert labeled_error(tmp_path, ["a"], "test") == (
        f"{tmp_path}: must have a 'test' folder. Got train, validation."
    )


def test_evaluating_a_class_the_model_does_not_know(tmp_path: Path) -> None:
    make_folders(tmp_path, {"cat": 1, "dogs": 1})
    assert labeled_error(tmp_path, ["cat", "dog"], "val") == (
        f"{tmp_path}/dogs: must be a class that the model has. Did you mean 'dog'?"
    )


def test_evaluating_nothing(tmp_path: Path) -> None:
    layout = "must be a folder with a sub-folder of images for each class"
    (tmp_path / "a.png").touch()
    line = f"{tmp_path}: {layout}. Got no sub-folder."
    assert labeled_error(tmp_path, ["cat"], "val") == line
    make_folders(tmp_path, {"cat": 0})
    line = f"{tmp_path}: must hold at least one image. Got none."
    assert labeled_error(tmp_path, ["cat"], "val") == line
    gone = tmp_path / "gone"
    assert labeled_error(gone, ["cat"], "val") == f"{gone}: {layout}. Got no such folder."
