"""One process at a time in a run folder, with and without the system's locks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from cnn_cli import portable
from cnn_cli.errors import DataError, LockedError
from cnn_cli.runs import lock as lock_module
from cnn_cli.runs.folder import RunFolder
from cnn_cli.runs.lock import CLAIM, LOCK, RunLock
from cnn_cli.system import host_name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(number: int) -> Callable[[int, int], None]:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS], ids=errno.errorcode.get)
def unlockable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""
    monkeypatch.setattr("fcntl.flock", refuse(request.param))
    monkeypatch.setattr(lock_module, "STEP_BACK", (0, 0))


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    return process.pid


@pytest.fixture
def running() -> Iterator[int]:
    """The number of another process that is running."""
    line = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def claim(folder: Path, **values: Any) -> Path:
    """Write another process's claim."""
    path = folder / f"{CLAIM}1-0123456789abcdef"
    own = {"host": host_name(), "process": 1, "started": None}
    path.write_text(json.dumps(own | values))
    return path


def test_the_second_is_refused(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    with pytest.raises(LockedError) as caught:
        RunLock(tmp_path)
    assert caught.value.line() == (f"{tmp_path}: another process is training into this run folder.")
    first.release()
    RunLock(tmp_path).release()
    assert names(tmp_path) == [LOCK]


def test_another_refusal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", refuse(errno.EIO))
    with pytest.raises(DataError) as caught:
        RunLock(tmp_path)
    assert caught.value.line() == f"{tmp_path}/.lock: cannot be locked. Got input/output error."


@pytest.mark.usefixtures("unlockable")
class TestWithoutLocks:
    def test_the_second_is_refused(self, tmp_path: Path) -> None:
        first = RunLock(tmp_path)
        (mine,) = first.files - {LOCK}
        with pytest.raises(LockedError) as caught:
            RunLock(tmp_path)
        assert caught.value.line() == (
            f"{tmp_path}: another process is training into this run folder; where it has ended, "
            f"delete {mine}. Got process {os.getpid()} of {host_name()}."
        )
        assert names(tmp_path) == sorted([LOCK, mine])
        first.release()
        assert names(tmp_path) == [LOCK]
        RunLock(tmp_path).release()

    def test_nothing_is_left_of_a_run_that_came_to_nothing(self, tmp_path: Path) -> None:
        with RunFolder(tmp_path / "run"):
            assert len(names(tmp_path / "run")) == 2
        assert names(tmp_path) == []

    def test_one_whose_process_has_ended_is_deleted(self, tmp_path: Path, ended: int) -> None:
        claim(tmp_path, process=ended)
        lock = RunLock(tmp_path)
        assert names(tmp_path) == sorted(lock.files)
        lock.release()

    def test_one_whose_process_goes_on_is_not(self, tmp_path: Path, running: int) -> None:
        path = claim(tmp_path, process=running, started=portable.start_of(running))
        with pytest.raises(LockedError, match=f"Got process {running} of "):
            RunLock(tmp_path)
        assert names(tmp_path) == [LOCK, path.name]

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say when it began")
    def test_a_number_that_was_given_again_is_another_process(
        self, tmp_path: Path, running: int
    ) -> None:
        claim(tmp_path, process=running, started="1")
        RunLock(tmp_path).release()
        assert names(tmp_path) == [LOCK]

    def test_a_process_of_another_host_is_not_asked_for(self, tmp_path: Path, ended: int) -> None:
        path = claim(tmp_path, process=ended, host="elsewhere")
        with pytest.raises(LockedError, match=f"delete {path.name}. Got process {ended} of elsew"):
            RunLock(tmp_path)
        path.unlink()
        RunLock(tmp_path).release()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1, "process": 2}', "null"])
    def test_what_cannot_be_read_counts_as_a_process(self, tmp_path: Path, text: str) -> None:
        """It may be about to write its identity."""
        path = claim(tmp_path)
        path.write_text(text)
        with pytest.raises(LockedError) as caught:
            RunLock(tmp_path)
        assert caught.value.line() == (
            f"{tmp_path}: another process is training into this run folder; where it has ended, "
            f"delete {path.name}."
        )

    def test_of_two_at_the_same_moment_one_waits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: int
    ) -> None:
        """Both see the other and retry; the other is gone at the next attempt."""
        path = claim(tmp_path, process=running)
        monkeypatch.setattr(time, "sleep", lambda _: path.unlink(missing_ok=True))
        lock = RunLock(tmp_path)
        assert names(tmp_path) == sorted(lock.files)
        lock.release()


TRIES = """
import errno, fcntl, sys
def flock(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
from pathlib import Path
from cnn_cli.errors import LockedError
from cnn_cli.runs.lock import RunLock
folder = Path(sys.argv[1])
held = 0
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    try:
        lock = RunLock(folder)
    except LockedError:
        continue
    (folder / "alone").touch(exist_ok=False)
    (folder / "alone").unlink()
    lock.release()
    held += 1
print(held)
"""


def test_never_two_without_locks(tmp_path: Path) -> None:
    line = [sys.executable, "-c", TRIES, str(tmp_path)]
    pipe = subprocess.PIPE
    several = [subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(3)]
    for one in several:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    outputs = []
    for one in several:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    for one in several:
        out, err = one.communicate(timeout=PATIENCE)
        assert (one.returncode, err) == (0, b"")
        outputs.append(int(out))
    assert sum(outputs) > 0
    assert names(tmp_path) == [LOCK]
