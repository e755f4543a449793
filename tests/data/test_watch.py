"""Watching a folder: each image once, when it is complete, and none missed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE

from cnn_cli.data import watch
from cnn_cli.data.sources import Entry
from cnn_cli.data.watch import watch_images
from cnn_cli.errors import DataError
from cnn_cli.portable import Inotify


def has_inotify() -> bool:
    try:
        Inotify().close()
    except OSError:
        return False
    return True


needs_inotify = pytest.mark.skipif(not has_inotify(), reason="the system has no inotify")
WAYS = [pytest.param("told", marks=needs_inotify), "looked at"]


def refuse() -> None:
    raise OSError(38, "Function not implemented")


@pytest.fixture(params=WAYS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `inbox`, in both ways of watching it."""
    monkeypatch.setattr(watch, "LOOK", 0.05)
    monkeypatch.setattr(watch, "PATIENCE", 0.01)
    if request.param == "looked at":
        monkeypatch.setattr(watch, "Inotify", refuse)
    monkeypatch.chdir(tmp_path)
    Path("inbox/below").mkdir(parents=True)
    for name in ("a.png", "below/b.JPG", "c.txt", ".d.png"):
        (Path("inbox") / name).write_bytes(b"1")
    return Path("inbox")


def until(entries: Iterator[Entry | None], count: int) -> list[str]:
    """Return the next `count` paths; no more may come before the next wait."""
    found: list[str] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < end
        entry = next(entries)
        if entry is not None:
            found.append(entry[0])
    assert next(entries) is None
    return sorted(found)


def test_what_is_there_and_then_what_comes(folder: Path) -> None:
    entries = watch_images("inbox")
    assert until(entries, 2) == ["inbox/a.png", "inbox/below/b.JPG"]
    (folder / "e.png").write_bytes(b"2")
    (folder / "below/f.png").write_bytes(b"2")
    (folder / ".g.png").write_bytes(b"2")
    (folder / "h.txt").write_bytes(b"2")
    assert until(entries, 2) == ["inbox/below/f.png", "inbox/e.png"]
    os.rename(folder / ".g.png", folder / "g.png")
    os.rename(folder / "h.txt", folder / "h.png")
    assert until(entries, 2) == ["inbox/g.png", "inbox/h.png"]


def test_new_folders_and_those_in_them(folder: Path) -> None:
    entries = watch_images("inbox/")
    assert until(entries, 2) == ["inbox/a.png", "inbox/below/b.JPG"]
    (folder / "new/deep").mkdir(parents=True)
    (folder / "new/deep/i.png").write_bytes(b"3")
    assert until(entries, 1) == ["inbox/new/deep/i.png"]
    Path("other/.hidden").mkdir(parents=True)
    for name in ("j.png", ".hidden/k.png"):
        (Path("other") / name).write_bytes(b"4")
    os.rename("other", folder / "moved")
    assert until(entries, 1) == ["inbox/moved/j.png"]
    os.rename(folder / "moved", "gone")  # events there no longer matter
    Path("gone/l.png").write_bytes(b"5")
    (folder / "new/m.png").write_bytes(b"6")
    assert until(entries, 1) == ["inbox/new/m.png"]


def test_one_that_is_written_anew_is_given_anew(folder: Path) -> None:
    entries = watch_images("inbox")
    until(entries, 2)
    (folder / "a.png").write_bytes(b"another")
    assert until(entries, 1) == ["inbox/a.png"]


def test_links_to_files_and_folders_and_in_a_circle(folder: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/n.png").write_bytes(b"7")
    entries = watch_images("inbox")
    until(entries, 2)
    os.symlink(Path("elsewhere/n.png").resolve(), folder / "o.png")
    os.link("elsewhere/n.png", folder / "p.png")
    assert until(entries, 2) == ["inbox/o.png", "inbox/p.png"]
    os.symlink(Path("elsewhere").resolve(), folder / "q")
    os.symlink(folder.resolve(), folder / "below/circle")
    assert until(entries, 1) == ["inbox/q/n.png"]


def test_a_link_to_a_folder_that_is_replaced(folder: Path) -> None:
    """`ln -sfn` renames the new link over the old one."""
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "x.png").write_bytes(name.encode())
    entries = watch_images("inbox")
    until(entries, 2)
    for name in ("one", "two"):
        os.symlink(Path(name).resolve(), "new")
        os.rename("new", folder / "link")
        assert until(entries, 1) == ["inbox/link/x.png"]
        Path(name, f"{name}.png").write_bytes(b"later")
        assert until(entries, 1) == [f"inbox/link/{name}.png"]
    os.unlink(folder / "link")
    os.symlink(Path("two").resolve(), folder / "other")
    assert until(entries, 2) == ["inbox/other/two.png", "inbox/other/x.png"]


@needs_inotify
@pytest.mark.parametrize("folder", ["told"], indirect=True)
def test_only_complete_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = watch_images("inbox")
    until(entries, 2)
    monkeypatch.setattr(watch, "LOOK", 1e9)  # only the end of writing counts
    with (folder / "slow.png").open("wb", buffering=0) as file:
        file.write(b"half")
        (folder / "quick.png").write_bytes(b"whole")
        assert until(entries, 1) == ["inbox/quick.png"]
        file.write(b"the rest")
    assert until(entries, 1) == ["inbox/slow.png"]
    (folder / "slow.png").open("ab").close()  # nothing was written
    (folder / "next.png").write_bytes(b"whole")
    assert until(entries, 1) == ["inbox/next.png"]


def test_events_that_were_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is read again, and nothing is yielded twice."""
    entries = watch_images("inbox")
    until(entries, 2)
    (folder / "r.png").write_bytes(b"8")
    assert until(entries, 1) == ["inbox/r.png"]
    (folder / "s").mkdir()
    for name in ("t.png", "s/u.png"):
        (folder / name).write_bytes(b"9")
    told: Callable[[Inotify], list[tuple[int, int, str]]] = Inotify.events

    def lose(inotify: Inotify) -> list[tuple[int, int, str]]:
        monkeypatch.setattr(Inotify, "events", told)
        told(inotify)
        return [(-1, Inotify.OVERFLOW, "")]

    monkeypatch.setattr(Inotify, "events", lose)
    assert until(entries, 2) == ["inbox/s/u.png", "inbox/t.png"]
    (folder / "s/v.png").write_bytes(b"9")
    assert until(entries, 1) == ["inbox/s/v.png"]


def test_what_comes_while_the_first_ones_are_given(folder: Path) -> None:
    """No image is missed or doubled between watching and reading the folder."""
    entries = watch_images("inbox")
    for i in range(40):
        (folder / f"old-{i:02}.png").write_bytes(b"old")
    first = next(entry for entry in entries if entry is not None)
    for i in range(40):
        (folder / f"new-{i:02}.png").write_bytes(b"new")
    rest = until(entries, 81)
    assert len({first[0], *rest}) == 82


GONE = "must not be moved, replaced or deleted while it is watched."


@pytest.mark.parametrize("act", [shutil.rmtree, lambda path: os.rename(path, "elsewhere")])
def test_a_folder_that_is_gone(folder: Path, act: Callable[[Path], object]) -> None:
    entries = watch_images("inbox")
    until(entries, 2)
    act(folder)
    with pytest.raises(DataError) as caught:
        until(entries, 1)
    assert caught.value.line() == f"inbox: {GONE}"


@needs_inotify
@pytest.mark.parametrize("folder", ["told"], indirect=True)
def test_another_folder_in_its_place(folder: Path) -> None:
    """The events of the old one say nothing of the new one, as of a drive that is mounted."""
    os.symlink(folder, "link")
    Path("above/inbox").mkdir(parents=True)
    watched = {name: watch_images(name) for name in ("link", "above/inbox")}
    until(watched["link"], 2)
    until(watched["above/inbox"], 0)
    Path("elsewhere").mkdir()
    os.symlink("elsewhere", "new")
    os.rename("new", "link")
    os.rename("above", "before")
    Path("above/inbox").mkdir(parents=True)
    for name, entries in watched.items():
        with pytest.raises(DataError) as caught:
            until(entries, 1)
        assert caught.value.line() == f"{name}: {GONE}"


@needs_inotify
@pytest.mark.parametrize("folder", ["told"], indirect=True)
def test_a_network_drive_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watching it succeeds, but what other computers write is not reported."""
    monkeypatch.setattr(watch, "on_network", lambda _: True)
    monkeypatch.setattr(Inotify, "events", lambda _: [])
    entries = watch_images("inbox")
    until(entries, 2)
    (folder / "e.png").write_bytes(b"2")
    assert until(entries, 1) == ["inbox/e.png"]


@needs_inotify
@pytest.mark.parametrize("folder", ["told"], indirect=True)
def test_more_folders_than_may_be_watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Inotify.add

    def refuse_below(inotify: Inotify, path: str) -> int:
        if path.endswith("below"):
            raise OSError(28, "No space left on device")
        return add(inotify, path)

    monkeypatch.setattr(Inotify, "add", refuse_below)
    with pytest.raises(DataError) as caught:
        until(watch_images("inbox"), 2)
    got = "more folders than fs.inotify.max_user_watches allows"
    assert caught.value.line() == f"inbox/below: cannot be watched. Got {got}."


@pytest.mark.parametrize(("name", "got"), [("inbox/a.png", "a file"), ("no", "no such folder")])
def test_what_is_no_folder(folder: Path, name: str, got: str) -> None:
    with pytest.raises(DataError) as caught:
        next(watch_images(name))
    assert caught.value.line() == f"{name}: must be a folder. Got {got}."


def test_a_folder_that_cannot_be_read_is_reported_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse_below(path: str) -> object:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse_below)
    entries = watch_images("inbox")
    assert until(entries, 2) == ["inbox/a.png", "inbox/below"]
    (folder / "w.png").write_bytes(b"1")
    assert until(entries, 1) == ["inbox/w.png"]


@needs_inotify
def test_what_was_given_long_ago_is_forgotten(tmp_path: Path) -> None:
    """One number for each recent image is kept: memory does not grow."""
    told = watch._Watched(str(tmp_path), Inotify())
    entries = told.entries()
    assert next(entries) is None
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"1")
        assert until(entries, 1) == [f"{tmp_path}/{number}.png"]
        told.mark -= 10
        told.since -= 10
        assert next(entries) is None
    assert len(told.given | told.given_before) <= 2
    told.inotify.close()
