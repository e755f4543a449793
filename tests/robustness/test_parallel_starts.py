"""Two trainings in one folder: one trains, the other reports that and exits."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from cli_program import COMMAND, Outcome, process
from hardship import Field, cnn, make_field
from patience import PATIENCE

from cnn_cli.errors import LockedError
from cnn_cli.runs import folder as run_module
from cnn_cli.runs.folder import RunFolder


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=6, val=2, epochs=2)


def test_exactly_one_trains(field: Field, tmp_path: Path) -> None:
    """Started together, without an end: one continues until it is stopped."""
    out = tmp_path / "run"
    line = [*COMMAND, "train", str(field.config), "--out", str(out), "--resume", "--epochs=1000000"]
    processes = [
        subprocess.Popen([*line, *quiet], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for quiet in ([], ["--quiet"], [])
    ]
    losers: list[subprocess.Popen[bytes]] = []
    two_are_out = threading.Event()

    def wait(one: subprocess.Popen[bytes]) -> None:
        one.wait()
        losers.append(one)
        if len(losers) == 2:
            two_are_out.set()

    for one in processes:
        threading.Thread(target=wait, args=(one,), daemon=True).start()
    assert two_are_out.wait(PATIENCE)
    (winner,) = set(processes) - set(losers[:2])
    assert winner.poll() is None
    winner.send_signal(signal.SIGTERM)
    winner.communicate(timeout=PATIENCE)
    assert winner.returncode in (75, -signal.SIGTERM)  # the latter before Python has started
    for one in losers[:2]:
        out_text, err = one.communicate()
        quiet = one is processes[1]
        said = "" if quiet else f"cnn: {out}: another process is training into this run folder.\n"
        assert (one.returncode, out_text, err.decode()) == (7, b"", said)


def test_the_lock_dies_with_its_process(field: Field, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = ["train", str(field.config), "--out", str(out), "--resume", "--quiet"]
    holder = subprocess.Popen([*COMMAND, *line, "--epochs=1000000"])
    try:
        while not (out / "metrics.csv").exists():
            assert holder.poll() is None
        assert cnn(*line) == Outcome(7, "", "")
    finally:
        holder.kill()
        holder.wait()
    assert cnn(*line, "--epochs=1000000", "--time-limit=0.01s").code == 75


def test_another_ones_lock_is_left_alone(field: Field, tmp_path: Path) -> None:
    """The other process neither deletes the folder nor the files being written in it."""
    out = tmp_path / "run"
    with RunFolder(out):
        half = out / f".cnn-{os.getpid()}-0.tmp"
        half.write_bytes(b"half")
        assert process("train", field.config, "--out", out, "--overwrite", "--quiet").code == 7
        assert half.read_bytes() == b"half"
        half.unlink()
    assert not out.exists()


def test_a_lock_that_was_deleted_meanwhile_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, its holder ends and deletes the file."""
    lock = fcntl.flock
    path = tmp_path / "run" / ".lock"
    calls: list[int] = []

    def delete_then_lock(file: int, how: int) -> None:
        if not calls:
            path.unlink()
        calls.append(os.fstat(file).st_ino)
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", delete_then_lock)
    with RunFolder(path.parent):
        monkeypatch.undo()
        assert len(calls) == 2
        assert path.stat().st_ino == calls[-1]
        with pytest.raises(LockedError), RunFolder(path.parent):
            pass


def test_numbered_folders_do_not_collide(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "tiny-2"):
        assert cnn("train", field.config, "--epochs", 0, "--quiet").code == 0
        assert (run_module.RUNS / name / "last.npz").exists()
