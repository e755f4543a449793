"""Sort images into folders by class: nothing is overwritten, nothing is lost."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_cli import portable
from cnn_cli.errors import DataError
from cnn_cli.inference import sorting
from cnn_cli.inference.sorting import How, Sorter, folder_name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {"x/a.png": b"1", "y/a.png": b"2", "z/a.png": b"1"}.items():
        Path(name).parent.mkdir()
        Path(name).write_bytes(content)
        os.utime(name, (1e9 + 100 * content[0], 1e9 + 100 * content[0]))


def sort(how: How, *paths: str, label: str | None = "cat", bad: bool = False) -> list[str]:
    """Return where a new process puts images of a class."""
    sorter = Sorter(Path("out"), how, dry=False)
    return [sorter.place(path, label, bad)[0] for path in paths]


def contents(folder: str = "out") -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("how", ["copy", "link", "move"])
def test_a_name_that_is_there_gets_a_number(how: How) -> None:
    Path("out/cat").mkdir(parents=True)
    Path("out/cat/a.png").write_bytes(b"of somebody else")
    assert sort(how, "x/a.png", "y/a.png") == ["out/cat/a-2.png", "out/cat/a-3.png"]
    found = {"cat/a.png": b"of somebody else", "cat/a-2.png": b"1", "cat/a-3.png": b"2"}
    assert contents() == found
    assert os.path.exists("x/a.png") == os.path.exists("y/a.png") == (how != "move")
    for path in ("out/cat/a-2.png", "out/cat/a-3.png"):
        assert os.stat(path).st_mtime < 2e9


@pytest.mark.parametrize("how", ["copy", "link", "move"])
def test_done_again_it_is_there_once(how: How) -> None:
    for _ in range(2):
        paths = [path for path in ("y/a.png", "x/a.png") if os.path.exists(path)]
        sort(how, *paths)
    assert contents() == {"cat/a.png": b"2", "cat/a-2.png": b"1"}


def test_a_move_that_was_killed_between_its_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On systems without atomic renaming to new names, and across file systems."""
    Path("out/cat").mkdir(parents=True)
    os.link("x/a.png", "out/cat/a.png")
    assert sort("move", "x/a.png") == ["out/cat/a.png"]
    assert contents() == {"cat/a.png": b"1"}
    assert not os.path.exists("x/a.png")
    sort("copy", "y/a.png")
    assert sort("move", "y/a.png") == ["out/cat/a-2.png"]
    assert not os.path.exists("y/a.png")
    assert contents() == {"cat/a.png": b"1", "cat/a-2.png": b"2"}


def test_a_picture_in_its_place_stays_there(tmp_path: Path) -> None:
    sort("move", "x/a.png")
    os.symlink("out", "other")
    for path in ("out/cat/a.png", "other/cat/a.png", str(tmp_path / "out/cat/../cat/a.png")):
        assert sort("move", path) == ["out/cat/a.png"]
    assert contents() == {"cat/a.png": b"1"}


def test_a_move_across_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(old: str, new: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(sorting, "rename_new", refuse)
    assert sort("move", "x/a.png") == ["out/cat/a.png"]
    assert contents() == {"cat/a.png": b"1"}
    assert not os.path.exists("x/a.png")


def test_what_cannot_be_deleted_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a camera's card that is mounted read-only; the other images are moved."""

    def refuse(old: str, new: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(sorting, "rename_new", refuse)
    card = OSError(errno.EROFS, "Read-only file system")
    monkeypatch.setattr(sorting, "refusal", lambda folder: card if folder == "x" else None)
    os.symlink("a.png", "x/link.png")
    sorter = Sorter(Path("out"), "move", dry=False)
    for name in ("x/a.png", "x/link.png"):
        place, problem = sorter.place(name, "cat", False)
        assert place == ""
        assert problem is not None
        assert problem.line() == f"{name}: cannot be moved to out/cat. Got read-only file system."
    assert sorter.place("y/a.png", "cat", False) == ("out/cat/a.png", None)
    assert contents() == {"cat/a.png": b"2"}


def test_links_across_file_systems_are_symbolic(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        assert sort("link", "x/a.png") == ["out/cat/a.png"]
    assert os.readlink("out/cat/a.png") == str(Path("x/a.png").resolve())


def test_a_relative_link_is_moved_and_leads_where_it_did() -> None:
    os.symlink("a.png", "x/link.png")
    assert sort("move", "x/link.png") == ["out/cat/link.png"]
    assert contents("out") == {"cat/link.png": b"1"}
    assert sorted(os.listdir("x")) == ["a.png"]
    assert stat.S_ISLNK(os.lstat("out/cat/link.png").st_mode)


def test_refused_and_unreadable_ones_have_folders_that_no_class_has() -> None:
    sort("copy", "x/a.png", label=None)
    sort("copy", "y/a.png", bad=True)
    sort("copy", "z/a.png", label="_unknown")
    found = {"_unknown/a.png": b"1", "_unreadable/a.png": b"2", "%5Funknown/a.png": b"1"}
    assert contents() == found


def test_what_is_no_file_stays() -> None:
    assert sort("move", "x", "gone.png", "no*.png", bad=True) == ["", "", ""]
    assert os.path.isdir("x")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("t-shirt", "t-shirt"),
        ("ankle boot", "ankle boot"),
        ("größe 不", "größe 不"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        (".git", "%2Egit"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a\0\n\x1b[31m", "a%00%0A%1B[31m"),
        ("50%", "50%25"),
        ("c:\\d", "c%3A%5Cd"),
        (" a ", "%20a%20"),
        ("_unreadable", "%5Funreadable"),
        ("\udcff", "%ED%B3%BF"),
    ],
)
def test_names_of_folders(label: str, name: str) -> None:
    assert folder_name(label) == name


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_class_has_a_folder_of_its_own(label: str, other: str) -> None:
    name = folder_name(label)
    assert len(os.fsencode(name)) <= 255
    assert not set("/\0\\") & set(name)
    assert name not in (".", "..", "_unknown", "_unreadable")
    assert (name == folder_name(other)) == (label == other)


def test_long_names_are_cut_and_differ() -> None:
    names = {folder_name("é" * 300 + end) for end in "ab"}
    assert len(names) == 2
    assert all(len(name.encode()) <= 200 for name in names)


def test_dry_tells_and_does_nothing() -> None:
    sorter = Sorter(Path("out"), "move", dry=True)
    found = [sorter.place(path, "cat", False)[0] for path in ("x/a.png", "y/a.png")]
    assert found == ["out/cat/a.png", "out/cat/a-2.png"]
    assert not os.path.exists("out")


def test_no_room_ends_it_and_other_troubles_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        def act(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(sorting, "copy_to_new", act)

    fail(errno.EACCES)
    place, problem = Sorter(Path("out"), "copy", dry=False).place("x/a.png", "cat", False)
    assert place == ""
    assert problem is not None
    assert problem.line() == "x/a.png: cannot be copied to out/cat. Got permission denied."
    fail(errno.ENOSPC)
    with pytest.raises(DataError) as caught:
        sort("copy", "x/a.png")
    assert caught.value.line() == "out/cat: cannot be written. Got no space left on device."


@pytest.mark.parametrize("way", ["at once", "by links", "by a place"])
def test_a_new_name_never_replaces_a_file(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if way != "at once":
        monkeypatch.setattr(portable, "_renamed_at_once", lambda old, new: False)
    if way == "by a place":
        monkeypatch.setattr(os, "link", refuse)
    portable.rename_new("x/a.png", "x/b.png")
    assert contents("x") == {"b.png": b"1"}
    with pytest.raises(FileExistsError):
        portable.rename_new("x/b.png", "y/a.png")
    assert (contents("x"), contents("y")) == ({"b.png": b"1"}, {"a.png": b"2"})
    with pytest.raises(FileNotFoundError):
        portable.rename_new("x/gone", "x/new")
