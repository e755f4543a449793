"""The split depends on the content of files alone, and each class gives its share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import make_folders, save_gray
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_cli.data.content import Contents, content_hashes
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.held_back import hold_back
from cnn_cli.data.opening import open_dataset
from cnn_cli.data.split import EMPTY, TEST, TRAIN, VAL, Parts, by_fractions, by_ranks
from cnn_cli.errors import DataError

shares = st.floats(0.01, 0.49)
some_hashes = st.integers(1, 2**64 - 1)
# Images of up to five classes, with few distinct hashes so that there are copies.
images = st.lists(st.tuples(st.integers(0, 2**10), st.integers(0, 4)), min_size=1, max_size=60)
# Without copies, so that each unit is of one class.
single = st.lists(
    st.tuples(some_hashes, st.integers(0, 4)), min_size=1, max_size=80, unique_by=lambda one: one[0]
)
groups_of = st.lists(st.sampled_from(["", "", "a", "b", "c", "d", "e", "f"]), min_size=60)


def deal(
    found: Sequence[tuple[int, int]],
    val_split: float,
    test_split: float = 0.0,
    groups: Sequence[str] | None = None,
) -> Parts:
    hashes = np.array([number for number, _ in found], np.uint64)
    contents = Contents(hashes, np.ones(len(found), np.bool_))
    labels = np.array([label for _, label in found], np.int64)
    return by_ranks(contents, labels, 5, val_split, test_split, groups)


def counts(found: Sequence[tuple[int, int]], parts: Parts, part: int) -> list[int]:
    labels = np.array([label for _, label in found])
    return list(np.bincount(labels[parts == part], minlength=5))


def due(count: int, share: float, left: int = 1) -> int:
    """Return the number of held-out images: the nearest integer, with at least one on each side."""
    return min(max(math.ceil(share * count - 0.5), 1), max(count - left, 0))


@given(found=single, val=shares, test=shares)
@settings(max_examples=200)
def test_each_class_gives_its_share(found: list[tuple[int, int]], val: float, test: float) -> None:
    """Exactly: to the nearest image, and with two images, one on each side."""
    parts, alone = deal(found, val, test), deal(found, val)
    for label in range(5):
        total = sum(own == label for _, own in found)
        assert counts(found, alone, VAL)[label] == due(total, val)
        tested = counts(found, parts, TEST)[label]
        assert tested == due(total, test)
        assert counts(found, parts, VAL)[label] == due(total, val, 1 + tested)
        assert (counts(found, parts, TRAIN)[label] >= 1) == (total >= 1)


@given(found=images, val=shares, test=shares, groups=groups_of)
@settings(max_examples=200)
def test_units_stay_together(
    found: list[tuple[int, int]], val: float, test: float, groups: list[str]
) -> None:
    """Copies, also across classes, groups, and groups that contain copies of one image."""
    names = groups[: len(found)]
    parts = deal(found, val, test, names)
    for same in (
        [(number, part) for (number, _), part in zip(found, parts, strict=True)],
        [(name, part) for name, part in zip(names, parts, strict=True) if name],
    ):
        assert len(set(same)) == len({key for key, _ in same})
    for label in range(5):  # something is always left for training
        assert counts(found, parts, TRAIN)[label] >= 1 or all(own != label for _, own in found)


@given(found=images, val=shares, groups=groups_of)
@settings(max_examples=200)
def test_each_class_of_two_units_or_more_is_on_both_sides_where_units_have_one_class(
    found: list[tuple[int, int]], val: float, groups: list[str]
) -> None:
    own = [(5 * number + label, label) for number, label in found]
    names = [
        f"{label} {name}" if name else "" for (_, label), name in zip(own, groups, strict=False)
    ]
    parts = deal(own, val, 0, names)
    for label in range(5):
        units = joined([(h, n) for (h, c), n in zip(own, names, strict=True) if c == label])
        held = joined(
            [
                (h, n)
                for (h, c), n, part in zip(own, names, parts, strict=True)
                if c == label and part == VAL
            ]
        )
        assert held == due(units, val)


def joined(found: Sequence[tuple[int, str]]) -> int:
    """Return the number of units, computed slowly."""
    units: list[set[object]] = []
    for number, name in found:
        unit: set[object] = {number, name or number}
        for other in [each for each in units if each & unit]:
            units.remove(other)
            unit |= other
        units.append(unit)
    return len(units)


@given(found=images, val=shares, test=shares, groups=groups_of, data=st.data())
def test_order_and_names_of_classes_have_no_part_in_it(
    found: list[tuple[int, int]], val: float, test: float, groups: list[str], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(found))))
    parts = deal(found, val, test, groups[: len(found)])
    moved = deal([found[i] for i in order], val, test, [groups[i] for i in order])
    np.testing.assert_array_equal(moved, parts[list(order)])
    one_class = [(number, number % 5) for number, _ in found]  # of all copies
    names = data.draw(st.permutations(range(5)))
    renamed = [(number, names[label]) for number, label in one_class]
    np.testing.assert_array_equal(deal(renamed, val, test), deal(one_class, val, test))


@given(found=single, more=single, val=shares, test=shares)
@settings(max_examples=200)
def test_stable_where_images_are_added(
    found: list[tuple[int, int]], more: list[tuple[int, int]], val: float, test: float
) -> None:
    """Adding one moves at most one other of its class to or from each part held back, and all
    moves have the same direction.
    """
    known = {number for number, _ in found}
    new = list({n: (n, label) for n, label in more if n not in known}.values())
    before, after = deal(found, val, test), deal(found + new, val, test)[: len(found)]
    for label, part in product(range(5), (VAL, TEST)):
        own = np.array([each == label for _, each in found])
        added = sum(each == label for _, each in new)
        came = np.count_nonzero((before != part)[own] & (after == part)[own])
        went = np.count_nonzero((before == part)[own] & (after != part)[own])
        assert came + went <= added
        assert not (came and went)


@given(found=images, one=shares, other=shares, test=shares, groups=groups_of)
def test_another_val_split_moves_no_test_images(
    found: list[tuple[int, int]], one: float, other: float, test: float, groups: list[str]
) -> None:
    names = groups[: len(found)]
    first, second = deal(found, one, test, names), deal(found, other, test, names)
    np.testing.assert_array_equal(first == TEST, second == TEST)


@given(found=single, one=st.floats(0.01, 0.99), other=st.floats(0.01, 0.99))
def test_a_larger_share_keeps_what_a_smaller_one_held(
    found: list[tuple[int, int]], one: float, other: float
) -> None:
    less, more = sorted([one, other])
    assert set(np.flatnonzero(deal(found, less))) <= set(np.flatnonzero(deal(found, more)))


def test_classes_that_share_all_their_images_each_have_some_of_both_parts() -> None:
    """With three classes and units of two classes each, two can be served."""
    copies = [(1, 0), (1, 1), (2, 1), (2, 2), (3, 0), (3, 2)]
    parts = deal(copies, 0.3)
    assert sorted(set(parts.tolist())) == [TRAIN, VAL]
    assert all(counts(copies, parts, TRAIN)[label] for label in range(3))
    pairs = [(n, label) for n in range(1, 11) for label in (0, 1)]  # each image in both classes
    assert counts(pairs, deal(pairs, 0.2), VAL)[:2] == [2, 2]


def test_a_rare_class_counts_as_much_as_a_common_one() -> None:
    """An image of both is chosen for the rare class, and hardly matters to the common one."""
    found = [(n, 0) for n in range(1000, 3000)] + [(n, c) for n in range(10) for c in (0, 1)]
    parts = deal(found, 0.2)
    assert counts(found, parts, VAL)[:2] == [402, 2]
    last = [(n, 0) for n in range(2000)] + [(n, c) for n in range(3000, 3010) for c in (0, 1)]
    assert counts(last, deal(last, 0.2), VAL)[:2] == [404, 2]  # though the first is complete


def test_what_helps_one_class_as_much_as_it_harms_another_stays_in_training() -> None:
    found = [(1, 0), (2, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 1), (7, 1)]
    assert deal(found, 0.25).tolist() == [VAL, TRAIN, TRAIN, VAL, TRAIN, TRAIN, TRAIN, TRAIN]


@pytest.mark.parametrize("names", [*permutations(range(3))])
def test_classes_are_served_in_the_order_of_their_first_units(names: tuple[int, ...]) -> None:
    """By any names: unit 1 is the last class's first one, unit 2 that of the first class."""
    found = [(1, 2), (2, 0), (2, 2), (3, 1), (4, 1), (4, 0)]
    parts = deal([(number, names[label]) for number, label in found], 0.1)
    assert parts.tolist() == [VAL, TRAIN, TRAIN, TRAIN, VAL, VAL]


def test_damaged_files_stay_in_training() -> None:
    hashes = np.array([EMPTY, EMPTY, 5, 6, 7], np.uint64)
    readable = np.array([True, True, False, True, True])
    parts = by_ranks(
        Contents(hashes, readable), np.zeros(5, np.int64), 1, 0.5, 0.0, ["g"] * 3 + [""] * 2
    )
    assert parts.tolist() == [TRAIN, TRAIN, TRAIN, VAL, TRAIN]
    empty_first = Contents(np.array([EMPTY, 2**64 - 2, 2**64 - 1], np.uint64), np.ones(3, np.bool_))
    assert by_ranks(empty_first, np.zeros(3, np.int64), 1, 0.5).tolist() == [TRAIN, VAL, TRAIN]
    nothing = Contents(np.zeros(2, np.uint64), np.zeros(2, np.bool_))
    assert by_ranks(nothing, np.zeros(2, np.int64), 1, 0.5).tolist() == [TRAIN, TRAIN]


def test_the_rule_of_older_runs(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}") for i in range(1000)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(i.to_bytes(2, "big"))
    paths.append(str(tmp_path / "gone"))
    contents = content_hashes(paths, tmp_path)
    labels = np.zeros(1001, np.int64)
    labels[:1] = 1
    parts = by_fractions(contents, labels, 2, 0.1)
    assert 70 <= np.count_nonzero(parts) <= 130
    fractions = [int(number) / 2**64 for number in contents.hashes]
    assert [f < 0.1 for f in fractions[1:1000]] == (parts[1:1000] == VAL).tolist()
    everything = by_fractions(contents, labels, 2, 1.0)
    assert everything.tolist() == [TRAIN] + [VAL] * 999 + [TRAIN]  # a class keeps its only image


def held_contents(root: Path, share: float) -> set[bytes]:
    data = open_dataset(root, None, share)
    assert data.val is not None
    return {Path(path).read_bytes() for path in data.val.paths}


def test_stable_under_renaming_and_moving(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "set", {"a": 20, "b": 20})
    before = held_contents(root, 0.3)
    assert len(before) == 12
    for i, path in enumerate(sorted((root / "a").iterdir())):
        path.rename(root / "a" / f"renamed {40 - i}.png")
    (root / "b").rename(root / "0")
    root = root.rename(tmp_path / "moved")
    assert held_contents(root, 0.3) == before
    save_gray(root / "a" / "0000.png", seed=99_999)
    assert len(held_contents(root, 0.3) - before) <= 1


def test_copies_across_classes_fall_on_the_same_side(tmp_path: Path) -> None:
    root = make_folders(tmp_path, {"a": 20, "b": 3})
    for path in list((root / "a").iterdir()):
        (root / "b" / f"copy-{path.name}").write_bytes(path.read_bytes())
    data = open_dataset(root, None, 0.3)
    assert data.val is not None
    train = {Path(path).read_bytes() for path in data.train.paths}
    val = {Path(path).read_bytes() for path in data.val.paths}
    assert not train & val
    assert np.bincount(data.val.labels).tolist() == [6, 7]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_no_image_is_lost_or_doubled(tmp_path: Path, share: float) -> None:
    root = make_folders(tmp_path, {"a": 12, "b": 12})
    data = open_dataset(root, None, share, test_split=share)
    parts = [part for part in (data.train, data.val, data.test) if part]
    assert len(parts) == (3 if share else 1)
    held = [path for part in parts for path in part.paths]
    assert sorted(held) == sorted(str(p) for p in tmp_path.rglob("*.png"))
    for part in parts:
        names = [Path(path).parent.name for path in part.paths]
        assert names == [data.classes[label] for label in part.labels]
        assert part.labels.dtype == np.int64
        assert part.groups is None


def test_groups_of_a_pattern(tmp_path: Path) -> None:
    for seed, (name, patient, i) in enumerate(product("ab", range(6), range(3))):
        save_gray(tmp_path / name / f"p{patient}_{i}.png", seed=seed)
    save_gray(tmp_path / "a" / "other.png", seed=5000)
    data = open_dataset(tmp_path, None, 0.3, test_split=0.2, group=r"/(p\d+)_\d")
    assert data.val is not None
    assert data.test is not None
    sides = [{*(part.groups or ())} - {""} for part in (data.train, data.val, data.test)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 6
    assert all(sides)
    assert [len(part.groups or ()) for part in (data.train, data.val, data.test)] == [
        len(data.train),
        len(data.val),
        len(data.test),
    ]
    assert data.remarks == (
        "data.group does not match the paths of 1 of 37 images, each of which is a group of its "
        "own, as a/other.png",
    )
    # The location of the data has no influence.
    assert group_line(tmp_path, str(tmp_path).lstrip("/")[:3] + "(x)") == (
        "data.group: must match the images' paths, or a part of them, below data.root. "
        "Got none, as a/other.png."
    )


def group_line(root: Path, group: str) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(root, None, 0.3, group=group)
    return caught.value.line()


def test_groups_of_a_list_are_kept_together_and_said_where_they_are_not(tmp_path: Path) -> None:
    root = make_folders(tmp_path, {"a": 12, "b": 12})
    plain = open_dataset(root, None, 0)
    names = [f"g{i % 8}" for i in range(24)]  # each in both classes
    train = Split(plain.train.paths, plain.train.labels, names)
    dataset = Dataset(root, plain.base, plain.classes, train, None, None)
    data = hold_back(dataset, 0.25)
    assert data.val is not None
    assert data.val.groups is not None
    assert len(set(data.val.groups)) == 2
    assert data.remarks == ()
    split = hold_back(Dataset(root, plain.base, plain.classes, train, data.val, None), 0.25)
    assert split.remarks == (
        f"2 groups have images in more than one part: {', '.join(sorted(set(data.val.groups)))}",
    )
    none = Split(plain.train.paths, plain.train.labels, [""] * 24)
    assert hold_back(Dataset(root, plain.base, plain.classes, none, none, None), 0.25).remarks == ()


def remarks(root: Path, **options: Any) -> tuple[str, ...]:
    return open_dataset(root, None, 0.1, **options).remarks


def test_classes_that_give_none_are_named(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 1, "b": 10, "c": 1, "d": 2})
    (tmp_path / "c" / "copy.png").write_bytes((tmp_path / "c" / "000.png").read_bytes())
    line = "2 classes have too few different images to hold one back to validate on: a, c"
    assert remarks(tmp_path) == (line,)
    assert remarks(tmp_path, test_split=0.1) == (
        "3 classes have too few different images to hold one back to validate on: a, c, d",
        "2 classes have too few different images to hold one back to test on: a, c",
    )


def test_nothing_to_validate_on_is_said(tmp_path: Path) -> None:
    make_folders(tmp_path, {"a": 1, "b": 1})
    line = "nothing is held back to validate on"
    assert remarks(tmp_path) == (f"{line}: no class has two different images",)
    make_folders(tmp_path, {"a": 2, "b": 2})
    rule = f"{line}: no class has three different images"
    assert remarks(tmp_path, test_split=0.1) == (rule,), "testing takes one of two"
    assert open_dataset(tmp_path, None, 1e-9, rule="fractions").remarks == (line,)
    assert open_dataset(tmp_path, None, 0).remarks == ()


def test_parts_that_have_folders_are_left_alone(tmp_path: Path) -> None:
    make_folders(tmp_path / "train", {"a": 10, "b": 10})
    make_folders(tmp_path / "val", {"a": 2, "b": 2})
    data = open_dataset(tmp_path, None, 0.1, test_split=0.2)
    assert [len(part or ()) for part in (data.train, data.val, data.test)] == [16, 4, 4]
    assert (
        all(os.sep + "train" + os.sep in path for path in data.test.paths) if data.test else False
    )
    make_folders(tmp_path / "test", {"a": 1, "b": 1})
    data = open_dataset(tmp_path, None, 0.1, test_split=0.2)
    assert [len(part or ()) for part in (data.train, data.val, data.test)] == [20, 4, 2]
