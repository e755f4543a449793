"""Several labels per image: lists and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import make_folders, save_gray
from hypothesis import given
from hypothesis import strategies as st

from cnn_cli.data.content import Contents
from cnn_cli.data.dataset import Dataset, Split
from cnn_cli.data.folds import deal_folds
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.opening import open_dataset, open_labeled
from cnn_cli.data.roots import separator_of, training_classes
from cnn_cli.data.split import TEST, TRAIN, VAL, by_ranks
from cnn_cli.data.targets import (
    are_multiple,
    class_counts,
    has_guessed,
    is_of,
    memberships,
    renumbered,
    rows_of,
)
from cnn_cli.errors import DataError
from cnn_cli.nn.types import Array


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images `pics/0.png` to `pics/5.png`."""
    make_folders(tmp_path, {"pics": 0})
    for i in range(6):
        save_gray(tmp_path / "pics" / f"{i}.png", seed=i)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *lines: str) -> Path:
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    return Path(name)


def found(split: Split | None, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the labels of each image by number."""
    assert split is not None
    return {
        Path(path).stem: [classes[i] for i in row.nonzero()[0]]
        for path, row in zip(split.paths, split.labels, strict=True)
    }


def read(root: Path, separator: str = "|", classes: list[str] | None = None) -> Dataset:
    return open_dataset(root, classes, 0.0, separator=separator)


EXPECTED = {"0": ["cat", "dog"], "1": ["dog"], "2": []}


@pytest.mark.parametrize(
    ("name", "header", "labels", "separator"),
    [
        ("list.csv", "path,label", ("dog|cat", "dog", "none"), "|"),
        ("list.csv", "path;class", ("dog | cat|cat", "dog", "none"), "|"),
        ("list.csv", "path,label", ('"dog, cat"', "dog", "none"), ","),
        ("list.tsv", "path\tlabel", ("dog  cat", "dog", "none"), " "),
        ("list.txt", "", ("dog|cat", "dog", "none"), "|"),
        ("list.csv", "path,dog,cat", ("1,1", "1,0", "0,0"), "|"),
        ("list.csv", "image;cat;dog", ("1;1", "0;1", "0;0"), "|"),
    ],
)
def test_ways_of_writing(name: str, header: str, labels: tuple[str, ...], separator: str) -> None:
    between = next((mark for mark in ",;\t" if mark in header), " ")
    rows = [f"pics/{i}.png{between}{text}" for i, text in enumerate(labels)]
    dataset = read(write(name, *([header] if header else []), *rows), separator)
    assert dataset.classes == ("cat", "dog")
    assert found(dataset.train, dataset.classes) == EXPECTED
    assert dataset.train.labels.dtype == np.uint8
    assert training_classes(Path(name), None, separator) == ["cat", "dog"]


def test_parts_and_groups() -> None:
    rows = ["pics/0.png,1,0,train,x", "pics/1.png,1,1,train,", "pics/2.png,0,1,val,x"]
    dataset = read(write("list.csv", "path,a,b,split,group", *rows))
    assert found(dataset.train, dataset.classes) == {"0": ["a"], "1": ["a", "b"]}
    assert found(dataset.val, dataset.classes) == {"2": ["b"]}
    assert dataset.train.groups == ["x", ""]
    assert dataset.remarks == ("1 group has images in more than one part: x",)


def test_labels_that_are_no_classes_are_passed_over() -> None:
    root = write("list.csv", "path,label", "pics/0.png,a|b", "pics/1.png,b|c", "pics/2.png,c")
    dataset = read(root, classes=["b", "a"])
    assert dataset.classes == ("b", "a")
    assert found(dataset.train, dataset.classes) == {"0": ["b", "a"], "1": ["b"], "2": []}
    marks = write("marks.csv", "path,width,a,b", "pics/0.png,8,1,1", "pics/1.png,9,0,1")
    dataset = read(marks, classes=["b", "a"])
    assert found(dataset.train, dataset.classes) == {"0": ["b", "a"], "1": ["b"]}
    assert dataset.remarks == ("marks.csv: left out, as no classes: columns width",)


def test_a_column_is_named() -> None:
    root = write("list.csv", "path,label,tags", "pics/0.png,1,a|b", "pics/1.png,1,b")
    dataset = open_dataset(root, None, 0.0, columns=ColumnsConfig(label="tags"), separator="|")
    assert found(dataset.train, dataset.classes) == {"0": ["a", "b"], "1": ["b"]}


def test_to_evaluate_a_model_on() -> None:
    root = write("list.csv", "path,label", "pics/0.png,b", "pics/1.png,none")
    split = open_labeled(root, ["a", "b"], "val", separator="|")
    assert found(split, ("a", "b")) == {"0": ["b"], "1": []}
    nothing = write("none.csv", "path,label", "pics/0.png,none")
    assert found(open_labeled(nothing, ["a", "b"], "all", separator="|"), ("a", "b")) == {"0": []}
    other = write("other.csv", "path,label", "pics/0.png,b|birb")
    with pytest.raises(DataError) as error:
        open_labeled(other, ["a", "b", "bird"], "val", separator="|")
    rule = "other.csv:2: must be a class that the model has. Did you mean 'bird'? Got 'birb'."
    assert error.value.line() == rule


@pytest.mark.parametrize(
    ("header", "classes", "expected"),
    [
        ("a,wild", ["a", "b", "wild"], "Got none for b."),
        ("b", ["a", "b", "ca"], "Got none for a, ca."),
        ("a,widl", ["a", "wild"], "Did you mean 'widl'? Got none for wild."),
        ("c6", [f"c{i}" for i in range(9)], "Got none for c0, c1, c2, c3, c4 and 3 more."),
        ("a,cafe\u0301", ["a", "caf\u00e9"], None),  # another Unicode form
        ("a,b,width", ["b", "a"], None),
    ],
)
def test_a_class_without_a_column(header: str, classes: list[str], expected: str | None) -> None:
    """It is not known of any image, which is not the same as 0."""
    marks = ",".join("1" for _ in header.split(","))
    root = write("list.csv", f"path,{header}", f"pics/0.png,{marks}")
    ways = (
        lambda: open_labeled(root, classes, "val", separator="|"),
        lambda: read(root, classes=classes),
    )
    for way in ways:
        if expected is None:
            assert way() is not None
            continue
        with pytest.raises(DataError) as error:
            way()
        rule = "list.csv:1: must have a column of 0 and 1 for each class."
        assert error.value.line() == f"{rule} {expected}"


def test_twice_is_once_where_the_labels_are_the_same() -> None:
    root = write("list.csv", "path,label", "pics/0.png,a|b", "pics/0.png,b|a", "pics/1.png,b")
    dataset = read(root)
    assert len(dataset.train) == 2
    assert dataset.remarks == ("list.csv: a row is there twice, and taken once",)


MARKS = (
    "list.csv:1: must have a column for the labels, headed label, class, category or target, or "
    "one of 0 and 1 for each label, of different names other than none."
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["path,label", "pics/0.png,"], "list.csv:2: must have labels or none. Got an empty one."),
        (
            ["path,label", "pics/0.png,a||b"],
            "list.csv:2: must have a label on both sides of each '|'. Got 'a||b'.",
        ),
        (
            ["path,label", "pics/0.png,none|b"],
            "list.csv:2: must have none, which means no label, alone. Got 'none|b'.",
        ),
        (
            ["path,a,b", "pics/0.png,1,yes"],
            "list.csv:2: must have 0 or 1 in the column 'b'; data.classes names the labels. "
            "Got 'yes'.",
        ),
        (
            ["path", "pics/0.png"],
            f"{MARKS} Got path.",
        ),
        (
            ["path,a,none", "pics/0.png,1,0"],
            f"{MARKS} Got path, a, none.",
        ),
        (
            ["path,label", "pics/0.png,a|b", "pics/0.png,a"],
            "list.csv:3: must have one label for 'pics/0.png'. Got 'a', and 'a|b' in line 2.",
        ),
        (
            ["path,a,b", "pics/0.png,1,0", "pics/0.png,1,1"],
            "list.csv:3: must have one label for 'pics/0.png'. Got 'a|b', and 'a' in line 2.",
        ),
        (
            ["path,label", "pics/0.png,a", "pics/1.png,a|a"],
            "list.csv: must hold at least two classes. Got one: 'a'.",
        ),
        (
            ["path,a,b", "pics/0.png,1,0", "pics/1.png,1,0"],
            "list.csv:1: must hold at least one image. Got none.",
        ),
    ],
)
def test_errors(lines: list[str], expected: str) -> None:
    with pytest.raises(DataError) as error:
        read(write("list.csv", *lines))
    assert error.value.line() == expected


@pytest.mark.parametrize(
    ("name", "lines", "several"),
    [
        ("x.csv", ["path,label", "pics/0.png,cat|dog", "pics/1.png,dog"], True),
        ("x.csv", ["path,label", "pics/0.png,cat|dog", "pics/1.png,cat|fox"], True),
        ("x.csv", ["path,label", "pics/0.png,either|or", "pics/1.png,dog"], False),
        ("x.csv", ["path,label,a,b", "pics/0.png,dog,0,1", "pics/1.png,cat,1,1"], False),
        ("x.tsv", ["path\ta\tb", "pics/0.png\t0\t1"], True),
        ("x.csv", ["path;a;b", "pics/0.png;0;1"], True),
        ("x.csv", ["path,kind", "pics/0.png,cat"], False),
        ("x.csv", ["path,split", "pics/0.png,train"], False),
        ("x.csv", ["path,a"], False),
        ("x.txt", ["pics/0.png cat|dog", "pics/1.png cat"], True),
        ("x.txt", ["pics/0.png cat", "pics/1.png dog"], False),
    ],
)
def test_a_list_decides(name: str, lines: list[str], several: bool) -> None:
    root = write(name, *lines)
    assert separator_of(root, None) == ("|" if several else None)
    assert separator_of(root, "multiple") == "|"
    assert separator_of(root, "single") is None


def test_only_lists_decide() -> None:
    assert separator_of(Path("pics"), None) is None
    assert separator_of(Path("none.csv"), None) is None
    with pytest.raises(DataError, match=r"^x.csv: must have a header and rows. Got nothing"):
        separator_of(write("x.csv"), None)


def test_folders_and_archives_give_one_label() -> None:
    rule = "must be a label list (.csv, .tsv, .txt) if data.labels is multiple"
    make_folders(Path(), {"photos/a": 2, "photos/b": 2})
    Path("x.zip").write_bytes(b"")
    folder = "a folder, which gives an image one label"
    for root, got in (("photos", folder), ("x.zip", "another file")):
        with pytest.raises(DataError) as error:
            read(Path(root))
        assert error.value.line() == f"{root}: {rule}. Got {got}."


def test_what_labels_have_in_common() -> None:
    numbers, rows = np.array([0, 2]), rows_of([["a", "x"], [], ["c", "a"]], ("a", "b", "c"))
    assert (are_multiple(numbers), are_multiple(rows)) == (False, True)
    assert rows.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert class_counts(numbers, 3).tolist() == [1, 0, 1]
    assert class_counts(rows, 3).tolist() == [2, 0, 1]
    assert is_of(numbers, 2).tolist() == [False, True]
    assert is_of(rows, 2).tolist() == [False, False, True]
    assert has_guessed(numbers, np.array([0, 0])).tolist() == [True, False]
    assert has_guessed(rows, np.array([0, 0, 2])).tolist() == [True, False, True]
    moved = np.array([1, 2, 0])  # class 0 becomes class 1, and so on
    assert renumbered(numbers, moved).tolist() == [1, 0]
    assert renumbered(rows, moved).tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert [each.tolist() for each in memberships(numbers, 3)[:2]] == [[0, 1], [0, 2]]
    images, classes, count = memberships(rows, 3)
    assert (images.tolist(), classes.tolist(), count) == ([0, 1, 2, 2], [0, 3, 0, 2], 4)


def drawn(seed: int, n: int, shares: list[float]) -> tuple[Contents, Array]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, len(shares))) < shares).astype(np.uint8)
    hashes = rng.permutation(10 * n)[:n].astype(np.uint64) + np.uint64(1)
    return Contents(hashes, np.ones(n, np.bool_)), labels


@given(seed=st.integers(0, 2**20), val=st.floats(0.1, 0.4))
def test_a_split_gives_each_label_its_share(seed: int, val: float) -> None:
    """Except for a few images of common labels that occur with rare ones, and one of rare
    labels.
    """
    contents, labels = drawn(seed, 400, [0.5, 0.3, 0.1, 0.03])
    parts = by_ranks(contents, labels, 4, val, 0.1)
    held = labels[parts == VAL].sum(axis=0)
    assert (np.abs(held - val * labels.sum(axis=0)) < [20, 10, 4, 2]).all()
    alone = ~labels.any(axis=1)
    assert abs((alone & (parts == VAL)).sum() - val * alone.sum()) < 10
    assert ((parts == TEST) == (by_ranks(contents, labels, 4, val / 2, 0.1) == TEST)).all()


@given(seed=st.integers(0, 2**20))
def test_each_label_is_on_both_sides_where_it_can_be(seed: int) -> None:
    contents, labels = drawn(seed, 40, [0.6, 0.1, 0.1])
    parts = by_ranks(contents, labels, 3, 0.2)
    for number in range(3):
        own = labels[:, number] > 0
        if own.sum() >= 2:
            assert (parts[own] == TRAIN).any()


def test_a_split_depends_on_content_alone() -> None:
    contents, labels = drawn(3, 200, [0.4, 0.2, 0.1])
    order = np.random.default_rng(0).permutation(200)
    moved = Contents(contents.hashes[order], contents.readable[order])
    parts = by_ranks(contents, labels, 3, 0.2)
    assert (by_ranks(moved, labels[order], 3, 0.2) == parts[order]).all()


@given(seed=st.integers(0, 2**20), count=st.integers(2, 6))
def test_folds_have_each_label_alike(seed: int, count: int) -> None:
    contents, labels = drawn(seed, 300, [0.5, 0.2, 0.05])
    units = np.argsort(np.argsort(contents.hashes))
    folds = deal_folds(units, labels, 3, count)
    for number in range(3):
        of_fold = np.bincount(folds[labels[:, number] > 0], minlength=count)
        assert of_fold.max() - of_fold.min() <= 6


def test_a_held_back_part_of_a_list() -> None:
    lines = [f"pics/{i}.png,{'ab'[i % 2]}" for i in range(6)]
    dataset = open_dataset(write("list.csv", "path,label", *lines), None, 0.34, separator="|")
    assert dataset.val is not None
    assert class_counts(dataset.val.labels, 2).tolist() == [1, 1]
    assert class_counts(dataset.train.labels, 2).tolist() == [2, 2]
