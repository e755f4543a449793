"""The fold of each image."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from data_samples import make_folders, save_gray
from hypothesis import given
from hypothesis import strategies as st

from cnn_cli.data.content import Contents
from cnn_cli.data.folds import Fold, deal_folds
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.split import EMPTY, units_of
from cnn_cli.errors import DataError


@pytest.mark.parametrize(
    "text", ["", "2", "0/5", "6/5", "1/1", "1/1001", "01/5", "-1/5", "1/5 ", "a/b", "\u0661/5"]
)
def test_no_folds(text: str) -> None:
    assert Fold.parse(text) is None


def test_folds_are_read_as_they_are_written() -> None:
    for fold in (Fold(1, 2), Fold(1000, 1000)):
        assert Fold.parse(str(fold)) == fold


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(2, 9))
def test_each_class_gives_every_fold_its_share(labels: list[int], count: int) -> None:
    of_class = np.array(labels)
    folds = deal_folds(np.arange(len(labels)), of_class, 4, count)
    for label in range(4):
        sizes = np.bincount(folds[of_class == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1), st.integers(2, 6))
def test_units_stay_together(images: list[tuple[int, int]], count: int) -> None:
    _, units = np.unique([unit for unit, _ in images], return_inverse=True)
    folds = deal_folds(units, np.array([label for _, label in images]), 3, count)
    for unit in np.unique(units):
        assert len(set(folds[units == unit])) == 1
    assert folds.min() >= 0
    assert folds.max() < count


def test_every_image_is_validated_on_once(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {"a": 7, "b": 4})
    make_folders(tmp_path / "val", {"b": 3})
    for path in (tmp_path / "val").rglob("*.png"):
        save_gray(path, seed=5000 + int(path.stem))
    make_folders(tmp_path / "test", {"a": 2})
    shutil.copy(tmp_path / "train/a/000.png", tmp_path / "train/a/copy.png")
    (tmp_path / "train/b/empty.png").touch()
    held: list[str] = []
    for number in (1, 2, 3):
        dataset = open_dataset(tmp_path, None, 0.5, fold=f"{number}/3")
        assert dataset.val is not None
        assert dataset.test is not None
        assert len(dataset.train) + len(dataset.val) == 16
        assert len(dataset.test) == 2
        assert set(dataset.train.paths).isdisjoint(dataset.val.paths)
        for split in (dataset.train, dataset.val):
            names = [dataset.classes[label] for label in split.labels]
            assert names == [Path(path).parent.name for path in split.paths] == sorted(names)
        copies = {str(tmp_path / f"train/a/{name}.png") for name in ("000", "copy")}
        # The largest unit is dealt first; a run that is resumed later must find the same folds.
        assert len(copies & set(dataset.val.paths)) == (2 if number == 1 else 0)
        held += dataset.val.paths
    assert len(held) == len(set(held)) == 16


def test_groups_and_what_is_to_be_tested_on(tmp_path: Path) -> None:
    for number in range(30):
        save_gray(tmp_path / "ab"[number % 2] / f"film{number // 5}-{number}.png", seed=number)
    held: list[str] = []
    for number in (1, 2):
        dataset = open_dataset(
            tmp_path, None, 0.5, test_split=0.2, group=r"(film\d)", fold=f"{number}/2"
        )
        assert dataset.val is not None
        assert dataset.test is not None
        parts = (dataset.train, dataset.val, dataset.test)
        films = [{Path(path).stem.partition("-")[0] for path in part.paths} for part in parts]
        assert all(films)
        assert sum(map(len, films)) == 6
        held += dataset.val.paths
        tested = len(dataset.test)
    assert len(held) == len(set(held)) == 30 - tested


def test_large_units_are_dealt_before_small_ones() -> None:
    units = np.array([0, 1, 2, 3, 4, 5, *[6] * 6])
    folds = deal_folds(units, np.zeros(12, np.int64), 1, 2)
    assert folds.tolist() == [1] * 6 + [0] * 6


def test_a_rare_class_counts_as_much_as_a_common_one() -> None:
    """Of two units with the rare class, each fold gets one, though one has fewer images then."""
    units = np.array([0] * 11 + [1] * 10 + [2] * 2)
    labels = np.array([0] * 11 + [0] * 9 + [1] + [0, 1])
    assert deal_folds(units, labels, 2, 2)[[0, 11, 21]].tolist() == [0, 1, 0]


def test_a_damaged_file_is_a_unit_of_its_own() -> None:
    """Otherwise it would be in a fold with images that it has nothing to do with."""
    contents = Contents(np.array([5, EMPTY, 7, 9, 5], np.uint64), np.arange(5) != 2)
    assert units_of(contents).tolist() == [0, 2, 3, 1, 0]


def test_groups_differ_where_their_names_do() -> None:
    contents = Contents(np.arange(4, dtype=np.uint64), np.ones(4, np.bool_))
    assert len(set(units_of(contents, ["a", "A", "a", "a "]).tolist())) == 3


def test_names_have_no_part_in_it(tmp_path: Path) -> None:
    make_folders(tmp_path / "one", {"a": 6, "b": 6})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for path in list((tmp_path / "two").rglob("*.png")):
        path.rename(path.with_name(f"{9 - int(path.stem)}.png"))
    contents = []
    for root in (tmp_path / "one", tmp_path / "two"):
        val = open_dataset(root, None, 0.1, fold="1/4").val
        assert val is not None
        contents.append({Path(path).read_bytes() for path in val.paths})
    assert contents[0] == contents[1]


def test_classes_that_cannot_be_dealt(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 5, "b": 1})
    shutil.copy(tmp_path / "b/000.png", tmp_path / "b/copy.png")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, None, 0.1, fold="1/3")
    assert caught.value.line() == (
        f"{tmp_path}: the class 'b' must have two different images, to train on one while the "
        "other is validated on. Got one."
    )
    save_gray(tmp_path / "b/other.png", seed=77)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, None, 0.1, fold="1/9")
    assert caught.value.line() == (
        f"{tmp_path}: must hold 9 different images or more, one for each fold. Got 7."
    )
    with pytest.raises(ValueError, match="no fold: '0/9'"):
        open_dataset(tmp_path, None, 0.1, fold="0/9")


def test_several_labels_are_dealt_in_equal_shares() -> None:
    """The rarest label first: each is within one image of its share."""
    rng = np.random.default_rng(0)
    counts = np.geomspace(12, 200, 10).astype(int)
    labels = np.zeros((400, 10), np.uint8)
    for number, count in enumerate(counts.tolist()):
        labels[rng.choice(400, count, replace=False), number] = 1
    folds = deal_folds(np.arange(400), labels, 10, 5)
    found = np.stack([labels[folds == i].sum(axis=0) for i in range(5)])
    assert np.abs(found - counts / 5).max() <= 1
    alone = [int((~labels[folds == i].any(axis=1)).sum()) for i in range(5)]
    assert max(alone) - min(alone) <= 1
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 3


def test_copies_of_several_labels_stay_together() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 1]], np.uint8)
    units = np.array([0, 0, 1, 2, 3, 1])
    folds = deal_folds(units, labels, 2, 2)
    assert folds[0] == folds[1]
    assert folds[2] == folds[5]
    assert set(folds.tolist()) == {0, 1}
