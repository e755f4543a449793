"""Label lists: reading and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_samples import make_folders, save_gray

from cnn_cli.data.dataset import Dataset
from cnn_cli.data.label_table import ColumnsConfig
from cnn_cli.data.listing import ordered
from cnn_cli.data.opening import open_dataset, open_labeled
from cnn_cli.data.roots import check_there, open_listing, plain_name, training_classes
from cnn_cli.errors import DataError, ExitCode


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images `pics/0.png` to `pics/5.png`."""
    make_folders(tmp_path, {"pics": 0})
    for i in range(6):
        save_gray(tmp_path / "pics" / f"{i}.png", seed=i)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    Path(name).write_bytes("".join(line + end for line in lines).encode(encoding))
    return Path(name)


def pairs(dataset: Dataset, part: str = "train") -> list[tuple[str, str]]:
    split = getattr(dataset, part)
    return [
        (path, dataset.classes[label])
        for path, label in zip(split.paths, split.labels, strict=True)
    ]


ROWS = ("pics/0.png,cat", "pics/1.png,dog", "pics/2.png,cat")
FOUND = [("pics/0.png", "cat"), ("pics/2.png", "cat"), ("pics/1.png", "dog")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table(end: str, encoding: str) -> None:
    root = write("list.csv", "path,label", *ROWS, "", end=end, encoding=encoding)
    dataset = open_dataset(root, None, 0.0)
    assert (dataset.classes, pairs(dataset), dataset.val) == (("cat", "dog"), FOUND, None)
    assert dataset.remarks == ()
    assert dataset.base == ""


@pytest.mark.parametrize("path", ["path", "file", "filename", "file_name", "image", "image_path"])
@pytest.mark.parametrize("label", ["label", "class", "category", "target"])
def test_common_headers_are_recognized_and_said(path: str, label: str) -> None:
    root = write("list.csv", f" {path.upper()},width,{label} ", "pics/0.png,3,a", "pics/1.png,4,b")
    dataset = open_dataset(root, None, 0.0)
    assert pairs(dataset) == [("pics/0.png", "a"), ("pics/1.png", "b")]
    said = [f"path is '{path.upper()}'"] * (path != "path")
    said += [f"label is '{label}'"] * (label != "label")
    expected = [f"list.csv: of its columns, {' and '.join(said)}"] * bool(said)
    assert list(dataset.remarks) == expected


def test_columns_are_named() -> None:
    root = write("list.tsv", "id\tpath\tSpecies", "x\tpics/0.png\ta", "y\tpics/1.png\tb")
    columns = ColumnsConfig(label="species")
    assert open_dataset(root, None, 0.0, columns=columns).classes == ("a", "b")
    columns = ColumnsConfig(label="id")
    assert open_dataset(root, None, 0.0, columns=columns).classes == ("x", "y")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["list.csv", "list.TSV"])
def test_what_stands_between_values(name: str, separator: str) -> None:
    rows = [row.replace(",", separator) for row in ("path,label", '"pics/0.png","a, b"', *ROWS[1:])]
    dataset = open_dataset(write(name, *rows), None, 0.0)
    assert dataset.classes == (f"a{separator} b", "cat", "dog")


def test_parts_and_groups() -> None:
    rows = [f"pics/{i}.png,{'ab'[i % 2]},{['Train', 'val', 'Testing'][i // 2]}" for i in range(6)]
    root = write("list.csv", "file,class,subset,group", *(f"{row},{row[5]}" for row in rows))
    dataset = open_dataset(root, None, 0.5)
    assert pairs(dataset) == [("pics/0.png", "a"), ("pics/1.png", "b")]
    assert pairs(dataset, "val") == [("pics/2.png", "a"), ("pics/3.png", "b")]
    assert pairs(dataset, "test") == [("pics/4.png", "a"), ("pics/5.png", "b")]
    groups = open_listing(root).groups
    assert groups == {f"pics/{i}.png": str(i) for i in range(6)}
    assert len(open_labeled(root, ["a", "b"], "all")) == 6
    assert open_labeled(root, ["b", "a"], "val").paths == ["pics/3.png", "pics/2.png"]


def test_lines_of_path_and_label() -> None:
    Path("with blanks").mkdir()
    save_gray(Path("with blanks/a b.png"))
    root = write("list.txt", "pics/0.png 10", "", "with blanks/a b.png   9", "pics/1.png\t9  ")
    dataset = open_dataset(root, None, 0.0)
    assert dataset.classes == ("9", "10")
    assert pairs(dataset) == [
        ("with blanks/a b.png", "9"),
        ("pics/1.png", "9"),
        ("pics/0.png", "10"),
    ]


def test_numbers_are_sorted_as_numbers_and_may_have_gaps() -> None:
    assert ordered(["10", "9", "-1", "100"]) == ["-1", "9", "10", "100"]
    assert ordered(["10", "9", "x"]) == ["10", "9", "x"]
    assert ordered(["01", "1", "0"]) == ["0", "01", "1"]


def test_numbers_are_places_in_the_classes_that_are_known() -> None:
    root = write("list.txt", "pics/0.png 0", "pics/1.png 2", "pics/2.png 2")
    found = open_labeled(root, ["cat", "cow", "dog"], "val")
    assert found.labels.tolist() == [0, 2, 2]
    dataset = open_dataset(root, None, 0.0)
    assert dataset.classes == ("0", "2")
    assert open_dataset(root, None, 0.0, before=("0", "2")).classes == ("0", "2")
    listing = open_listing(root, ["cat", "cow", "dog"])
    assert listing.notes == [
        "list.txt: labels are places in the classes: 0 is cat, 1 is cow, 2 is dog"
    ]
    rule = "must be one of the classes, or its place in them, 0 to 1. Got 2."
    for opened in (
        lambda: open_labeled(root, ["cat", "cow"], "val"),
        lambda: open_dataset(root, ["cat", "cow"], 0.0),
    ):
        with pytest.raises(DataError) as caught:  # an index beyond the list of names
            opened()
        assert caught.value.line() == f"list.txt:2: {rule}"


def test_numbers_of_other_classes_are_no_places() -> None:
    """1 was taken for the class at place 1, which is 2."""
    root = write("list.txt", "pics/0.png 1", "pics/1.png 1")
    with pytest.raises(DataError) as caught:
        open_labeled(root, ["0", "2"], "val")
    assert caught.value.line() == "list.txt:1: must be a class that the model has. Got '1'."


def test_the_order_of_the_config() -> None:
    root = write("list.csv", "path,label", *ROWS, "pics/3.png,eel")
    dataset = open_dataset(root, ["dog", "cat"], 0.0)
    assert dataset.classes == ("dog", "cat")
    assert len(dataset.train) == 3


def test_labels_that_look_like_several() -> None:
    """They are one class each, with a note; without other labels there is no note."""
    rows = ["pics/1.png,dog", "pics/2.png,cat|dog", "pics/3.png,cat"]
    root = write("list.csv", "path,label", *rows)
    dataset = open_dataset(root, None, 0.0)
    assert dataset.classes == ("cat", "cat|dog", "dog")
    rule = "labels such as 'cat|dog' are one class each; data.labels=multiple reads several labels"
    assert dataset.remarks == (f"list.csv: {rule}",)
    root = write("list.csv", "path,label", "pics/1.png,a|b", "pics/2.png,cat", "pics/3.png,cat")
    assert open_dataset(root, None, 0.0).remarks == ()


def test_a_row_that_is_there_twice_is_taken_once() -> None:
    root = write("list.csv", "path,label", *ROWS, ROWS[0], "./pics/../pics/1.png,dog")
    dataset = open_dataset(root, None, 0.0)
    assert pairs(dataset) == FOUND
    assert dataset.remarks == ("list.csv: 2 rows are there twice, and taken once",)


def test_a_path_that_is_absolute_in_another_row(here: Path) -> None:
    root = write("list.csv", "path,label", *ROWS, f"{here}/{ROWS[0]}")
    assert pairs(dataset := open_dataset(root, None, 0.0)) == FOUND
    assert dataset.remarks == ("list.csv: a row is there twice, and taken once",)
    write("list.csv", "path,label", *ROWS, f"{here}/pics/0.png,dog")
    with pytest.raises(DataError) as caught:
        open_dataset(root, None, 0.0)
    rule = f"list.csv:5: must have one label for '{here}/pics/0.png'."
    assert caught.value.line() == f"{rule} Got 'dog', and 'cat' in line 2."


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_headers_in_quotes(separator: str) -> None:
    rows = [row.split(",") for row in ("path,label", *ROWS)]
    lines = [separator.join(f'"{value}"' for value in row) for row in rows]
    assert pairs(open_dataset(write("list.csv", *lines), None, 0.0)) == FOUND


@pytest.mark.parametrize(
    ("header", "row", "left_out"),
    [
        ("path,label,class", "a,x", "class"),
        ("path,filename,label", "x,a", "filename"),
        ("path,label,split,subset", "a,train,x", "subset"),
    ],
)
def test_a_second_column_for_a_purpose(header: str, row: str, left_out: str) -> None:
    root = write("list.csv", header, f"pics/0.png,{row}", f"pics/1.png,{row.replace('a', 'b', 1)}")
    remarks = open_dataset(root, None, 0.0).remarks
    assert remarks == (f"list.csv: left out beside these: columns {left_out}",)


def test_paths_lead_anywhere(here: Path) -> None:
    (here / "lists").mkdir()
    rows = ("../pics/0.png,a", f"{here}/pics/1.png,b", "..\\pics\\2.png,b")
    root = write("lists/list.csv", "path,label", *rows)
    dataset = open_dataset(root, None, 0.0)
    assert [Path(path).resolve() for path in dataset.train.paths] == [
        here / f"pics/{i}.png" for i in range(3)
    ]
    assert dataset.base == "lists"


def test_names() -> None:
    assert [plain_name(Path(name)) for name in ("a.csv", "b.x.txt", "photos", "c.Tsv")] == [
        "a",
        "b.x",
        "photos",
        "c",
    ]
    root = write("list.csv", "path,label", *ROWS)
    assert training_classes(root) == ["cat", "dog"]
    check_there(root)
    root.unlink()
    with pytest.raises(DataError):
        check_there(root)


HEAD = "path,label"
PATH_WANTED = (
    "must have a column for the path, headed path, file, filename, file_name, image or image_path, "
    "or as data.columns.path says."
)
LABEL_WANTED = (
    "must have a column for the label, headed label, class, category or target, "
    "or as data.columns.label says; columns of 0 and 1 are for data.labels multiple."
)
BAD: list[tuple[str, list[str], str]] = [
    ("list.csv", [], "list.csv: must have a header and rows. Got nothing."),
    ("list.csv", [HEAD], "list.csv: must hold a row for each image. Got none."),
    ("list.csv", ["pics/0.png,cat"], f"list.csv:1: {PATH_WANTED} Got pics/0.png, cat."),
    ("list.csv", ["id,label", "0,a"], f"list.csv:1: {PATH_WANTED} Got id, label."),
    ("list.tsv", ["image\tid", "0\ta"], f"list.tsv:1: {LABEL_WANTED} Got image, id."),
    ("list.csv", ["path,label,Label", "a,b,c"], "list.csv:1: must have the column 'label' once."),
    (
        "list.csv",
        [HEAD, "pics/0.png,cat", "pics/gone.png,dog"],
        "list.csv:3: must name an existing file. Got 'pics/gone.png'.",
    ),
    (
        "list.csv",
        [HEAD, "0.png,cat", "1.png,dog", "pics/2.png,"],
        "list.csv:2: must name an existing file. Got '0.png'; 2 more lines are wrong.",
    ),
    (
        "list.csv",
        [HEAD, "pics,cat", "pics/1.png,dog"],
        "list.csv:2: must name an existing file. Got 'pics'.",
    ),
    ("list.csv", [HEAD, "pics/0.png, "], "list.csv:2: must have a label. Got an empty one."),
    ("list.csv", [HEAD, ",cat"], "list.csv:2: must have a path. Got an empty one."),
    (
        "list.csv",
        [HEAD, *ROWS, "pics/0.png,dog"],
        "list.csv:5: must have one label for 'pics/0.png'. Got 'dog', and 'cat' in line 2.",
    ),
    (
        "list.csv",
        [HEAD + ",set", "pics/0.png,a,train", "pics/0.png,a,val"],
        "list.csv:3: must have one split for 'pics/0.png'. Got 'val', and 'train' in line 2.",
    ),
    (
        "list.csv",
        [HEAD + ",set", "pics/0.png,a,train", "pics/0.png,a,holdout", "pics/1.png,a,"],
        "list.csv:3: must be of the part train, val or test. Got 'holdout'; "
        "one more line is wrong.",
    ),
    (
        "list.csv",
        [HEAD + ",group", "pics/0.png,a,1", "pics/0.png,a,2"],
        "list.csv:3: must have one group for 'pics/0.png'. Got '2', and '1' in line 2.",
    ),
    (
        "list.csv",
        [HEAD, "pics/0.png,a,b"],
        "list.csv:2: must have 2 values, as the header has. Got 3.",
    ),
    (
        "list.csv",
        [HEAD, "", "pics/0.png"],
        "list.csv:3: must have 2 values, as the header has. Got 1.",
    ),
    (
        "list.csv",
        [HEAD, *ROWS, '"pics/3.png,cat', "pics/4.png,dog"],
        "list.csv:5: must be a row of values. Got unexpected end of data.",
    ),
    (
        "list.csv",
        [HEAD, '"pics/3.png"x,cat'],
        "list.csv:2: must be a row of values. Got ',' expected after '\"'.",
    ),
    ("list.csv", [HEAD, *ROWS[::2]], "list.csv: must hold at least two classes. Got one: 'cat'."),
    (
        "list.csv",
        [HEAD + ",set", "pics/0.png,a,val", "pics/1.png,b,test"],
        "list.csv: must have rows of the part 'train'. Got test, val.",
    ),
    (
        "list.csv",
        [HEAD + ",set", "pics/0.png,cat,train", "pics/1.png,dog,train", "pics/2.png,cats,val"],
        "list.csv:4: must be a class that train has. Did you mean 'cat'? Got 'cats'.",
    ),
    (
        "list.txt",
        ["pics/0.png 0", "pics/1.png"],
        "list.txt:2: must be a path and a label. Got 'pics/1.png'.",
    ),
    (
        "list.txt",
        ["pics/0.png 0", "pics/1.png golden retriever"],
        "list.txt:2: must name an existing file. Got 'pics/1.png golden'.",
    ),
    ("list.txt", ["\0 0"], "list.txt:1: must name an existing file. Got '\\x00'."),
    ("list.txt", [" ", ""], "list.txt: must hold a row for each image. Got none."),
]


@pytest.mark.parametrize(("name", "lines", "line"), BAD)
def test_lists_that_are_not_right(name: str, lines: list[str], line: str) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(write(name, *lines), None, 0.0)
    assert caught.value.line() == line
    assert caught.value.code == ExitCode.DATA


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"path,label\npics/0.png,K\xe4fer\n", "list.csv: must be UTF-8 text."),
        (b"\xff\xfep\0a\0t\0h\0", "list.csv:1: " + LABEL_WANTED),
        (b"\xff\xfep", "list.csv: must be UTF-8 text."),
        (b"\x89PNG\r\n\x1a\n", "list.csv: must be UTF-8 text."),
    ],
)
def test_lists_that_are_no_text(content: bytes, line: str) -> None:
    Path("list.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_listing(Path("list.csv"))
    assert caught.value.line().startswith(line)


def test_columns_that_are_not_there() -> None:
    root = write("list.csv", "path,label", *ROWS)
    for columns, line in (
        (
            ColumnsConfig(label="labels"),
            "list.csv:1: must have the column 'labels' of data.columns.label. "
            "Did you mean 'label'? Got path, label.",
        ),
        (
            ColumnsConfig(group="patient"),
            "list.csv:1: must have the column 'patient' of data.columns.group. Got path, label.",
        ),
    ):
        with pytest.raises(DataError) as caught:
            open_listing(root, columns=columns)
        assert caught.value.line() == line
    for name, got in (
        ("pics", "a folder"),
        ("list.txt", "a .txt"),
        ("gone", "no such file"),
        ("pics/0.png", "another kind of file"),
    ):
        with pytest.raises(DataError) as caught:
            open_listing(Path(name), columns=ColumnsConfig(label="x"))
        assert caught.value.line() == (
            f"{name}: must be a .csv or .tsv if data.columns names columns. Got {got}."
        )


def test_other_files_are_no_roots() -> None:
    with pytest.raises(DataError) as caught:
        open_listing(Path("pics/0.png"))
    assert caught.value.line() == (
        "pics/0.png: must be a folder with a sub-folder of images for each class, or a list (.csv, "
        ".tsv, .txt), an archive (.zip, .tar, .tar.gz) or shards (s-{00..12}.tar). "
        "Got another file."
    )
    with pytest.raises(DataError) as caught:
        open_listing(Path("gone.csv"))
    assert caught.value.line() == "gone.csv: cannot be read. Got no such file or directory."
