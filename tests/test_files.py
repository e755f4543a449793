"""Atomic writes: old or new content, and no temporary files left."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import pytest

from cnn_cli import files, portable
from cnn_cli.errors import DataError
from cnn_cli.files import (
    check_writable_folder,
    descriptor_of,
    remove_stale_temporaries,
    write_atomic,
)

# Root is refused nothing, so permission tests are pointless.
needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_bytes_replace_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a longer old text")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_gets_a_seekable_file(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"____ world")
        file.seek(0)
        file.write(b"hello")

    write_atomic(str(tmp_path / "b"), write)
    assert (tmp_path / "b").read_bytes() == b"helloworld"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        assert len(names(tmp_path)) == 2
        assert next(name for name in names(tmp_path) if name != "a").startswith(
            f".cnn-{os.getpid()}-"
        )
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError) as caught:
        write_atomic(tmp_path / "a", write)
    assert caught.value.line() == f"{tmp_path}/a: cannot be written. Got no space left on device."
    assert names(tmp_path) == []


def test_a_missing_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_atomic(tmp_path / "no" / "a", b"")
    assert caught.value.line() == (
        f"{tmp_path}/no/a: cannot be written. Got no such file or directory."
    )
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        write_atomic(tmp_path / "folder", b"")
    assert caught.value.line() == f"{tmp_path}/folder: cannot be written. Got a folder."
    assert names(tmp_path) == ["folder"]


def test_a_reader_sees_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with path.open("rb") as reader:

        def write(file: BinaryIO) -> None:
            file.write(b"new")
            file.flush()
            assert path.read_bytes() == b"old"

        write_atomic(path, write)
        assert reader.read() == b"old"


def test_a_link_goes_on_leading_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "a"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["link", "there"]


def test_a_device_is_not_replaced() -> None:
    write_atomic("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_new_files_get_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_leftover_of_the_same_name_is_stepped_around(tmp_path: Path) -> None:
    leftover = tmp_path / f".cnn-{os.getpid()}-0.tmp"
    leftover.write_bytes(b"left")
    write_atomic(tmp_path / "a", b"new")
    assert leftover.read_bytes() == b"left"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    check_writable_folder(folder)
    assert names(folder) == []
    check_writable_folder(folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        check_writable_folder(tmp_path / "a")
    assert caught.value.line() == (
        f"{tmp_path}/a: must be a folder that can be written to. Got file exists."
    )
    with pytest.raises(DataError) as caught:
        check_writable_folder(tmp_path / "a" / "b")
    assert caught.value.line() == (
        f"{tmp_path}/a/b: must be a folder that can be written to. Got not a directory."
    )


@needs_permissions
def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError) as caught:
        check_writable_folder(folder)
    assert caught.value.line() == (
        f"{folder}: must be a folder that can be written to. Got permission denied."
    )


# Writes half a file, then kills itself or waits for the end of its stdin.
HALF = """
import os, signal, sys
from cnn_cli.files import write_atomic
def half(file):
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
write_atomic(sys.argv[1], half)
"""


def write_half(path: Path, end: str) -> subprocess.Popen[bytes]:
    """Return a process that has written half."""
    line = [sys.executable, "-c", HALF, str(path), end]
    writer = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    return writer


def test_only_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    with write_half(tmp_path / "a", "killed") as killed:
        killed.wait()
    (stale,) = names(tmp_path)
    with write_half(tmp_path / "b", "later") as alive:
        (unfinished,) = set(names(tmp_path)) - {stale}
        others = [".cnn-x-0.tmp", "cnn-1-0.tmp", ".cnn-1-0.tmp.png", "last.npz"]
        for name in others:
            (tmp_path / name).write_bytes(b"x")
        remove_stale_temporaries(tmp_path)
        assert names(tmp_path) == sorted([unfinished, *others])
        alive.communicate()
    assert alive.returncode == 0
    assert names(tmp_path) == sorted(["b", *others])
    remove_stale_temporaries(tmp_path / "absent")


def test_a_file_of_its_own_is_no_leftover(tmp_path: Path) -> None:
    def content(file: BinaryIO) -> None:
        remove_stale_temporaries(tmp_path)
        file.write(b"new")

    write_atomic(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_one_taken_for_a_leftover_too_early_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process comes between opening and locking."""
    lock = files._lock
    calls = 0

    def lock_late(file: BinaryIO, *, without: bool) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            remove_stale_temporaries(tmp_path)
        return lock(file, without=without)

    monkeypatch.setattr(files, "_lock", lock_late)
    write_atomic(tmp_path / "a", b"new")
    assert calls == 3
    assert names(tmp_path) == ["a"]


def test_a_pipe_behind_a_link_is_written_directly(tmp_path: Path) -> None:
    """As `--output /dev/stdout | ...`: the real path of a pipe is not a file."""
    reading, writing = os.pipe()
    try:
        write_atomic(f"/dev/fd/{writing}", b"content")
        assert os.read(reading, 100) == b"content"
    finally:
        os.close(reading)
        os.close(writing)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)


def test_nobody_else_reads_what_replaces_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o600)

    def write(file: BinaryIO) -> None:
        (other,) = set(names(tmp_path)) - {"a"}
        assert mode_of(tmp_path / other) == 0o600

    write_atomic(path, write)


def test_owner_and_group_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If they cannot be kept, the new group gets no more rights than everybody."""
    path = tmp_path / "a"
    path.write_bytes(b"")
    real, asked = path.stat(), []

    def refuse(descriptor: int, owner: int, group: int) -> None:
        asked.append((owner, group))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    for mode, kept in ((0o660, 0o600), (0o664, 0o644), (0o6775, 0o755)):
        values = list(real)
        values[stat.ST_MODE] = stat.S_IFREG | mode
        values[stat.ST_UID], values[stat.ST_GID] = real.st_uid + 1, real.st_gid + 1
        with path.open("rb") as file:
            portable.copy_owner_and_mode(os.stat_result(values), file.fileno())
        assert mode_of(path) == kept
    assert asked[:2] == [(real.st_uid + 1, real.st_gid + 1), (-1, real.st_gid + 1)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_owner_and_group_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_atomic(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode_of(path)) == (1234, 4321, 0o640)


@pytest.mark.parametrize("target", ["there", "nowhere", "pipe", "loop"])
def test_a_name_of_its_own_is_replaced_whatever_it_leads_to(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"of another")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "a"
    path.symlink_to(target)
    write_atomic(path, b"new", own=True)
    assert (path.is_symlink(), path.read_bytes()) == (False, b"new")
    assert (tmp_path / "there").read_bytes() == b"of another"
    assert names(tmp_path) == ["a", "loop", "pipe", "there"]


def test_a_pipe_with_a_name_of_its_own_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    write_atomic(tmp_path / "a", b"new", own=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_means_an_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"-": 1, "/dev/stdout": 1, "//dev/../dev/stderr": 2, "/dev/fd/7": 7}
    known |= {f"/proc/{os.getpid()}/fd/12": 12, "/proc/self/fd/3": 3}
    for path, number in known.items():
        assert descriptor_of(path) == number, path
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "other").symlink_to("/dev/stdout")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    assert descriptor_of("link") == 1
    for path in ("loop", "a", "./-", "/dev/null", "/dev/fd", "/proc/1/fd/1", "/dev/stdout.csv"):
        assert descriptor_of(path) is None, path


@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_what_stands_before_and_after_in_an_open_file_stays(tmp_path: Path, flags: int) -> None:
    path = tmp_path / "log"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | flags)
    os.write(file, b"before ")
    write_atomic(f"/dev/fd/{file}", b"content")
    write_atomic(f"/proc/self/fd/{file}", lambda stream: print(" more", end="", file=text(stream)))
    os.write(file, b" after")
    os.close(file)
    assert path.read_bytes() == b"before content more after"
    assert names(tmp_path) == ["log"]


def text(stream: BinaryIO) -> TextIOWrapper:
    return TextIOWrapper(stream, write_through=True)


def test_an_open_file_whose_reader_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for a non-blocking descriptor: all of it is written."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    content, got = os.urandom(1_000_000), bytearray()

    def wait(*_: object) -> bool:
        got.extend(os.read(reading, 100_000))
        return True

    monkeypatch.setattr(files, "wait_until_ready", wait)
    write_atomic(f"/dev/fd/{writing}", content)
    os.close(writing)
    while part := os.read(reading, 100_000):
        got.extend(part)
    os.close(reading)
    assert got == content


def test_a_reader_that_is_gone_is_an_error_but_of_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(DataError, match=r"/dev/fd/\d+: cannot be written. Got broken pipe\."):
        write_atomic(f"/dev/fd/{writing}", b"x")
    monkeypatch.setattr(files, "STDOUT", writing)
    with pytest.raises(BrokenPipeError):
        write_atomic("-", b"x")
    os.close(writing)


def test_file_and_folder_are_on_disk_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before the rename, the folder's new name afterwards."""
    done = []
    sync, replace = os.fsync, os.replace

    def watched_sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append((kind, os.fstat(descriptor).st_size if kind == "file" else None))
        sync(descriptor)

    def watched_replace(old: Path, new: Path) -> None:
        done.append(("replace", None))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomic(tmp_path / "a", b"12345")
    assert done == [("file", 5), ("replace", None), ("folder", None)]


def test_a_drive_writes_its_own_cache_out_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS's F_FULLFSYNC instead of fsync; if a drive refuses it, fsync."""
    import fcntl

    asked: list[int] = []
    refused = False

    def call(descriptor: int, command: int) -> int:
        asked.append(command)
        if refused:
            raise OSError(45, "Operation not supported")
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", call)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    portable.synchronize(99)
    assert (asked, synced) == ([51], [])
    refused = True
    portable.synchronize(99)
    assert (asked, synced) == ([51, 51], [99])
