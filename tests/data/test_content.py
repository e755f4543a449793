"""A second start reads no unchanged file, even if the stored hashes are damaged."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import make_folders

from cnn_cli.data import content
from cnn_cli.data.content import Contents, content_digest, content_hashes

LONG_AGO = 1_600_000_000 * 10**9


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of stored hashes, of data sets of any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "LEAST_KEPT", 1)
    return tmp_path / "cache" / "cnn" / "hashes"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files opened for reading."""
    names: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def open(self, path: str, flags: int) -> int:
            names.append(os.path.basename(path))
            return os.open(path, flags)

    monkeypatch.setattr(content, "os", Counting())
    return names


def settle(path: Path, seconds: int = 0) -> None:
    """Make a file appear unchanged for long."""
    os.utime(path, ns=(LONG_AGO + seconds * 10**9,) * 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_folders(tmp_path / "photos", {"a": 6, "b": 4})
    for path in root.rglob("*.png"):
        settle(path)
    return root


def paths_of(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*.png"))


def hashes_of(root: Path) -> list[int]:
    found = content_hashes(paths_of(root), root)
    assert found.readable.all()
    return [int(number) for number in found.hashes]


def expected(root: Path) -> list[int]:
    return [
        int.from_bytes(hashlib.blake2b(Path(path).read_bytes(), digest_size=8).digest(), "big")
        for path in paths_of(root)
    ]


@pytest.mark.parametrize("size", [0, 1, content.BLOCK, content.BLOCK + 1, 3_000_000])
def test_the_hash_is_the_blake2b_of_the_content(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    digest = hashlib.blake2b(b"x" * size, digest_size=8).digest()
    assert content_digest(str(path), 8) == digest
    found = content_hashes([str(path)], tmp_path)
    assert found.hashes.tolist() == [int.from_bytes(digest, "big")]
    assert found.readable.tolist() == [True]


def test_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    found = content_hashes([str(tmp_path / "gone"), str(tmp_path)], tmp_path)
    assert found.readable.tolist() == [False, False]
    assert content_hashes([], tmp_path).hashes.tolist() == []


def test_a_second_start_reads_no_file(root: Path, kept: Path, opened: list[str]) -> None:
    first = hashes_of(root)
    assert first == expected(root)
    assert len(opened) == 10
    opened.clear()
    assert hashes_of(root) == first
    assert opened == []
    assert len(list(kept.iterdir())) == 1


def test_a_small_data_set_is_not_kept(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "LEAST_KEPT", 11)
    assert hashes_of(root) == expected(root)
    assert not kept.exists()


def test_a_file_that_changed_is_read(root: Path, kept: Path, opened: list[str]) -> None:
    hashes_of(root)
    opened.clear()
    changed = root / "a" / "002.png"
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")  # with the same size
    settle(changed, 1)
    new = root / "b" / "new.png"
    new.write_bytes(b"new")
    settle(new)
    (root / "a" / "003.png").unlink()
    assert hashes_of(root) == expected(root)
    assert sorted(opened) == ["002.png", "new.png"]
    opened.clear()
    assert hashes_of(root) == expected(root)
    assert opened == []


def test_another_file_in_its_place_is_read(root: Path, kept: Path, opened: list[str]) -> None:
    """With the same name, size and time, but another inode."""
    hashes_of(root)
    opened.clear()
    place = root / "a" / "002.png"
    other = root / "other"
    other.write_bytes(place.read_bytes()[::-1])
    settle(other)
    other.replace(place)
    assert hashes_of(root) == expected(root)
    assert opened == ["002.png"]


def test_a_file_that_has_just_changed_is_not_kept(
    root: Path, kept: Path, opened: list[str]
) -> None:
    """Its next change might leave the same time."""
    os.utime(root / "a" / "002.png")
    hashes_of(root)
    opened.clear()
    assert hashes_of(root) == expected(root)
    assert opened == ["002.png"]


def test_hard_links_are_read_once(
    root: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        (root / "b" / f"link{i}.png").hardlink_to(root / "a" / "000.png")
    read: list[int] = []
    digest = content._digest

    def counted(descriptor: int, size: int) -> bytes:
        read.append(size)
        return digest(descriptor, size)

    monkeypatch.setattr(content, "_digest", counted)
    assert hashes_of(root) == expected(root)
    assert len(read) == 10
    read.clear()
    monkeypatch.setattr(content, "LINKS", 0)
    assert hashes_of(root) == expected(root)
    assert len(read) == 15


def test_the_way_to_a_folder_has_no_part_in_it(
    root: Path, kept: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hashes_of(root)
    opened.clear()
    monkeypatch.chdir(root.parent)
    (root.parent / "link").symlink_to(root)
    for other in (Path("photos"), Path("link"), Path("photos") / ".." / "photos"):
        assert hashes_of(other) == first
    monkeypatch.chdir(root / "a")
    assert content_hashes(["000.png"], root).hashes.tolist() == first[:1]
    assert opened == []


def test_classes_that_are_left_out_once_are_not_forgotten(
    root: Path, kept: Path, opened: list[str]
) -> None:
    a, b = paths_of(root / "a"), paths_of(root / "b")
    content_hashes(b, root)
    content_hashes(a, root)
    opened.clear()
    assert content_hashes(b + a, root).readable.all()
    assert opened == []
    # Unless they are more than the current ones: most would belong to deleted files.
    new = root / "b" / "new.png"
    new.write_bytes(b"new")
    settle(new)
    content_hashes([*b, str(new)], root)
    content_hashes(a, root)
    assert sorted(opened) == [
        "000.png",
        "001.png",
        "002.png",
        "003.png",
        "004.png",
        "005.png",
        "new.png",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: b"X" + data[1:],
        lambda data: data[: len(content._HEADER)] + data[-16:],
    ],
)
def test_what_is_damaged_is_made_anew(
    root: Path, kept: Path, opened: list[str], damage: Callable[[bytes], bytes]
) -> None:
    hashes_of(root)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    opened.clear()
    assert hashes_of(root) == expected(root)
    assert len(opened) == 10
    assert file.read_bytes() == whole


def test_it_works_without(
    root: Path,
    kept: Path,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """If files are in the way or the disk is full, without messages."""
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a file")
    assert hashes_of(root) == hashes_of(root) == expected(root)
    kept.unlink()
    hashes_of(root)
    (file,) = kept.iterdir()
    file.unlink()
    file.mkdir()
    assert hashes_of(root) == hashes_of(root) == expected(root)
    os.rmdir(file)
    os.mkfifo(file)
    assert hashes_of(root) == expected(root)
    assert file.is_file()
    assert capfd.readouterr() == ("", "")


def test_the_data_set_that_was_asked_for_least_lately_makes_room(
    root: Path, kept: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [make_folders(root.parent / name, {"a": 6, "b": 4}) for name in "xyz"]
    for number, each in enumerate(sets):
        for path in each.rglob("*.png"):
            settle(path)
        before = set(kept.iterdir()) if number else set()
        hashes_of(each)
        (file,) = set(kept.iterdir()) - before
        os.utime(file, (number, number))
    hashes_of(sets[0])  # now the most recent
    opened.clear()
    monkeypatch.setattr(content, "MOST_BYTES", 3 * file.stat().st_size)
    hashes_of(root)
    assert len(opened) == 10
    assert len(list(kept.iterdir())) == 3
    opened.clear()
    hashes_of(sets[0])
    hashes_of(sets[2])
    assert opened == []
    hashes_of(sets[1])
    assert len(opened) == 10
    monkeypatch.setattr(content, "MOST_BYTES", 0)  # implausibly large
    hashes_of(root)
    assert len(opened) == 20


def test_two_at_once(root: Path, kept: Path) -> None:
    """Each stores all it found; either result is fine."""
    a, b = paths_of(root / "a"), paths_of(root / "b")
    together = threading.Barrier(2)
    found: list[Contents] = []

    def work(paths: list[str]) -> None:
        together.wait()
        for _ in range(20):
            found.append(content_hashes(paths, root))

    threads = [threading.Thread(target=work, args=(paths,)) for paths in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(each.readable.all() for each in found)
    assert hashes_of(root) == expected(root)
    assert len(list(kept.iterdir())) == 1


def test_on_several_threads_where_it_takes_long(
    root: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SLOW", 0.0)
    monkeypatch.setattr(content, "JOB", 2)
    monkeypatch.setattr(content, "cpu_count", lambda: 4)
    others: set[str] = set()
    digest = content._digest

    def read(*file: int) -> bytes:
        others.add(threading.current_thread().name)
        return digest(*file)

    monkeypatch.setattr(content, "_digest", read)
    assert hashes_of(root) == expected(root)
    assert len(opened) == 10
    assert any(name.startswith("data-") for name in others)


def test_an_interrupt_ends_the_threads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "SLOW", 0.0)
    monkeypatch.setattr(content, "JOB", 1)
    read = 0
    digest = content._digest

    def stop(*file: int) -> bytes:
        nonlocal read
        read += 1
        if read > 1:
            raise KeyboardInterrupt
        return digest(*file)

    monkeypatch.setattr(content, "_digest", stop)
    monkeypatch.setattr(content, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        hashes_of(root)
    assert read == 2


def test_memory_is_that_of_some_numbers(root: Path, kept: Path) -> None:
    hashes_of(root)
    (file,) = kept.iterdir()
    assert file.stat().st_size == len(content._HEADER) + 16 * 10 + 16
    assert np.frombuffer(file.read_bytes()[len(content._HEADER) : -16], "<u8").shape == (20,)
