"""A growing file of predictions, truncated at any byte and continued."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cnn_cli.errors import DataError, LockedError
from cnn_cli.inference.appending import NO_STAMP, Appended, Stamp, stamp_of
from cnn_cli.inference.prediction_formats import Columns, make_format
from cnn_cli.inference.predictor import Prediction
from cnn_cli.structs import replace

CLASSES = ("cat", "=dog", 'a "b",\nc')
BEST = tuple((name, 0.25) for name in CLASSES)
ROWS = [
    Prediction("a.png", "cat", 0.75, BEST, None, (0.75, 0.25, 0.0), 10, 1.5),
    Prediction("=b,\n.png", "=dog", 0.5, BEST, None, (0.5, 0.5, 0.0), 11, 2.000001),
    Prediction("é\udcff\x1b.png", None, 0.25, BEST, None, (0.25, 0.5, 0.25), 0, -1.0),
    Prediction("bad.png", error="truncated or damaged", size=3, time=4.25),
    Prediction("gone.png", error="cannot be read: no such file"),
    Prediction("c", CLASSES[2], 0.9, BEST, None, (0.0, 0.1, 0.9), 2**40, 1.7e9 + 0.123456),
]
COLUMNS = Columns(topk=2, probs=CLASSES, stamp=True)
NAMES = ("out.csv", "out.jsonl")


def opened(path: Path, dry: bool = False, columns: Columns = COLUMNS) -> Appended:
    return Appended(path, make_format(path.suffix[1:], columns), CLASSES, dry)


def said(appended: Appended, row: Prediction) -> Prediction | None:
    return appended.find(row.path, (row.size, row.time))


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_after_a_cut_at_any_byte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with opened(path) as appended:
        appended.append(ROWS[:2])
        appended.append(ROWS[2:])
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with opened(path) as appended:
            missing = [row for row in ROWS if said(appended, row) is None]
            done = [row for row in ROWS if row not in missing]
            assert done == [row for row in ROWS if row.error is None][: len(done)]
            appended.append(missing)  # an error whose line is whole is not repeated
        assert path.read_bytes() == whole, size


@pytest.mark.parametrize("name", NAMES)
def test_what_it_holds(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / name) as appended:
        appended.append(ROWS)
    with opened(tmp_path / name) as appended:
        for row in ROWS:
            found = said(appended, row)
            assert (found is None) == (row.error is not None)
            assert found is None or (found.path, found.label) == (row.path, row.label)
        assert appended.find("a.png", (10, 1.500001)) is None
        assert appended.find("a.png", (11, 1.5)) is None
        assert appended.find("A.png", (10, 1.5)) is None
        assert appended.find("a.png", NO_STAMP) is None


@pytest.mark.parametrize("name", NAMES)
def test_the_last_row_of_a_path_counts(tmp_path: Path, name: str) -> None:
    """Whatever happens to an image, it is done if its last row is of the image as it is."""
    path, before, after = tmp_path / name, (10, 1.5), (12, 2.5)
    cat, dog = (Prediction("=a.png", label, 0.5, BEST, None, (0.5,) * 3) for label in CLASSES[:2])

    def run(row: Prediction, stamp: Stamp) -> tuple[str | None, int]:
        """Return the label that the file has for the image or gets now, and its number of rows."""
        row = replace(row, size=stamp[0], time=stamp[1])
        with opened(path) as appended:
            found = appended.find(row.path, stamp)
            if found is None:
                appended.append([row])
            label = row.label if found is None else found.label
        if path.suffix == ".csv":
            with open(path, newline="") as file:
                return label, len(list(csv.reader(file))) - 1
        return label, len(path.read_text().splitlines())

    failed = Prediction("=a.png", error="= not permitted,\n\x1b")
    assert run(failed, before) == (None, 1)
    assert run(failed, before) == (None, 1)  # the same error
    assert run(replace(failed, error="damaged"), before) == (None, 2)
    assert run(cat, before) == ("cat", 3)
    assert run(dog, before) == ("cat", 3)  # it is done
    assert run(failed, NO_STAMP) == (None, 4)  # it was gone for a while
    assert run(cat, before) == ("cat", 5)
    assert run(dog, after) == ("=dog", 6)
    assert run(cat, before) == ("cat", 7)  # an earlier state restored
    assert run(cat, NO_STAMP) == ("cat", 8)  # not a file: nothing tells whether it is the same
    assert run(cat, NO_STAMP) == ("cat", 9)


def test_a_row_of_this_call_counts_as_the_last(tmp_path: Path) -> None:
    path, failed = tmp_path / "out.jsonl", Prediction("a.png", error="gone")
    with opened(path) as appended:
        appended.append(ROWS[:1])
    with opened(path) as appended:
        assert said(appended, ROWS[0]) is not None
        appended.append([failed])
        assert said(appended, ROWS[0]) is None
        appended.append([failed])
        appended.append([replace(ROWS[0], label="=dog")])
        found = said(appended, ROWS[0])
        assert found is not None
        assert found.label == "=dog"
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("name", NAMES)
def test_no_label_of_several_is_an_answer(tmp_path: Path, name: str) -> None:
    row = Prediction("a.png", "none", 0.1, BEST, None, (0.1,) * 3, 10, 1.5, labels=())
    with opened(tmp_path / name) as appended:
        appended.append([row])
    with opened(tmp_path / name) as appended:
        assert said(appended, row) is not None


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_image_in_an_archive_has_the_stamp_of_the_archive(tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    archive.write_bytes(b"123")
    os.utime(archive, (1, 2.5))
    assert stamp_of(f"{archive}/cats/0.png") == stamp_of(str(archive)) == (3, 2.5)
    assert stamp_of(f"{archive}x/0.png") == stamp_of("a\0.zip/0.png") == NO_STAMP


@pytest.mark.parametrize("name", NAMES)
def test_dry_leaves_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with opened(path, dry=True) as appended:
        assert said(appended, ROWS[0]) is None
    assert not path.exists()
    with opened(path) as appended:
        appended.append(ROWS)
    path.write_bytes(path.read_bytes()[:-1])
    before = path.read_bytes()
    with opened(path, dry=True) as appended:
        assert [said(appended, row) is None for row in ROWS] == [False] * 3 + [True] * 3
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "x.csv",
            b"path,label\na,b\n",
            "x.csv: must begin with path,label,prob,error,size,time, as with the same options. "
            "Got path,label.",
        ),
        (
            "x.csv",
            b"path,label,prob,error,size,time\na,b,1,,1,1\na,b\n",
            "x.csv:3: must be a line that cnn predict --append wrote.",
        ),
        ("x.csv", b"path,label,prob,error,size,time\na,b,1,,x,1\n", "x.csv:2: must be a line"),
        ("x.jsonl", b'{"path": "a"}\n', "x.jsonl:1: must be a line that cnn predict"),
        ("x.jsonl", b'{"path": 1, "size": 1, "time": 1}\n', "x.jsonl:1: must be a line that"),
        ("x.jsonl", b"[]\n", "x.jsonl:1: must be a line that cnn predict --append wrote."),
        ("x.jsonl", b"\xff\xfe\n", "x.jsonl:1: must be a line that cnn predict --append wrote."),
        ("x.jsonl", b'{"path": 1, "size": [], "time": {}}\n', "x.jsonl:1: must be a line that"),
    ],
)
def test_files_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        opened(Path(name), columns=Columns(stamp=True))
    assert caught.value.line().startswith(line)
    assert Path(name).read_bytes() == content


def test_a_file_is_appended_to_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with opened(path), pytest.raises(LockedError) as caught:
        opened(path)
    assert caught.value.line() == f"{path}: another process is appending to this file."


def test_places_that_cannot_be_appended_to(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    os.mkfifo(tmp_path / "b.csv")
    for name, rule in {
        "a.csv": "cannot be written. Got a folder.",
        "b.csv": "must be a file, to be read and appended to.",
        "no/c.csv": "cannot be written. Got no such file or directory.",
    }.items():
        with pytest.raises(DataError) as caught:
            opened(tmp_path / name)
        assert caught.value.line() == f"{tmp_path / name}: {rule}"


def test_without_room_the_last_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with opened(path) as appended:
        appended.append(ROWS[:1])
        before, file = path.read_bytes(), appended._file

        class Full:
            """Accepts some bytes, and then no more."""

            def __init__(self) -> None:
                self.taken = 0

            def write(self, data: memoryview) -> int:
                if self.taken:
                    raise OSError(errno.ENOSPC, "No space left on device")
                assert file is not None
                self.taken = file.write(data[:20])
                return self.taken

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        appended._file = Full()  # type: ignore[assignment]  # as far as it is used
        with pytest.raises(DataError) as caught:
            appended.append(ROWS[1:])
        assert caught.value.line() == f"{path}: cannot be written. Got no space left on device."
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("act", ["delete", "replace", "truncate", "write"])
def test_a_file_that_others_change(tmp_path: Path, name: str, act: str) -> None:
    """As an editor that saves it, or a rotation of logs. Rows would be lost, or follow a gap."""
    path = tmp_path / name
    with opened(path) as appended:
        appended.append(ROWS[:2])
        whole = path.read_bytes()
        if act in ("delete", "replace"):
            path.rename(tmp_path / "before")
        if act in ("replace", "write"):
            path.write_bytes(whole + whole[-1:] * (act == "write"))
        if act == "truncate":
            path.write_bytes(b"")
        after = path.read_bytes() if path.exists() else None
        with pytest.raises(DataError) as caught:
            appended.append(ROWS[2:])
    rule = "must not be moved, deleted or changed while rows are appended to it"
    assert caught.value.line() == f"{path}: {rule}."
    assert (path.read_bytes() if path.exists() else None) == after
