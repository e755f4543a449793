"""Limits on threads: the same results, and a note."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_program import COMMAND, Inside, Outcome
from patience import PATIENCE

from cnn_cli.data.reading_threads import Pool
from cnn_cli.errors import ExitCode
from cnn_cli.nn.team import Team

NOTE = "cnn: not all threads could be started; the others did their work\n"


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def allow(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Allow that many more threads."""
    start, left = threading.Thread.start, [count]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_each_worker_of_a_team_has_its_turn(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    allow(monkeypatch, count)
    team = Team(4)
    called: list[int] = []
    team.run(called.append)
    assert sorted(called) == [0, 1, 2, 3]
    assert team.size == 4

    def fail(worker: int) -> None:
        if worker == 3:
            raise ValueError(worker)

    with pytest.raises(ValueError, match="3"):
        team.run(fail)
    team.close()


@pytest.mark.parametrize("count", [0, 1])
def test_a_pool_does_all_of_its_jobs(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    allow(monkeypatch, count)
    with Pool(3) as pool:
        assert pool.threads == 1
        futures = [pool.submit(pow, 2, number) for number in range(4)]
        assert [future.result() for future in futures] == [1, 2, 4, 8]
        done: list[int] = []
        pool.run(done.append, 5)
        assert done == [5]
        with pytest.raises(ZeroDivisionError):
            pool.run(divmod, 1, 0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_commands_give_the_same(
    cnn: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    line = ("train", "tiny.yaml", "--threads", 3, "train.epochs=1", "--quiet", "--out")
    assert cnn(*line, tmp_path / "all").code == 0
    predict = ("predict", "photos/test", "--ckpt", tmp_path / "all", "--threads", 3, "-b", 2)
    evaluate = ("eval", "--ckpt", tmp_path / "all", "--threads", 3, "--json")
    expected = [cnn(*predict), cnn(*evaluate)]
    allow(monkeypatch, count)
    outcome = cnn(*line, tmp_path / "few")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    allow(monkeypatch, count)
    found = [cnn(*predict), cnn(*evaluate)]
    assert [each.out for each in found] == [each.out for each in expected]
    assert [each.err for each in found] == [NOTE, NOTE]
    monkeypatch.undo()
    weights = [read(tmp_path / name / "best.npz") for name in ("all", "few")]
    assert weights[0] == weights[1]


def read(path: Path) -> dict[str, bytes]:
    from cnn_cli.runs.checkpoint import load_checkpoint

    groups = load_checkpoint(path).groups
    return {f"{group}/{name}": a.tobytes() for group in groups for name, a in groups[group].items()}


def limited(limit: str, *line: object, before: Sequence[str] = ()) -> Outcome:
    """Run a command line under a limit of the shell, such as `ulimit -v 600000`."""
    shell = ["bash", "-c", f'{limit}; exec "$@"', "bash"]
    command = [*before, *shell, *COMMAND, *map(str, line)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


linux = pytest.mark.skipif(sys.platform != "linux", reason="others do not limit address space")


@linux
def test_little_address_space(trained: Path) -> None:
    line = ("predict", "photos/test", "--ckpt", trained, "--threads", 200)
    outcome = limited("ulimit -v 600000", *line)
    assert (outcome.code, outcome.err) == (0, NOTE)
    assert len(outcome.out.splitlines()) == 6


@linux
@pytest.mark.parametrize("kilobytes", [100_000, 190_000, 250_000, 350_000])
def test_less_address_space(trained: Path, tmp_path: Path, kilobytes: int) -> None:
    """One line, instead of the messages with which OpenBLAS and LLVM abort."""
    for line in (
        ("predict", "photos/test", "--ckpt", trained),
        ("train", "tiny.yaml", "train.epochs=1", "--quiet", "--out", tmp_path / "run"),
    ):
        outcome = limited(f"ulimit -v {kilobytes}", *line, "--threads", 2)
        assert outcome.code in (0, ExitCode.CONFIG), outcome.err
        assert len(outcome.err.splitlines()) <= 1
        assert outcome.err.startswith("cnn: ") or outcome.code == 0
        if kilobytes == 100_000:
            assert outcome.err.startswith("cnn: ulimit -v: must leave 167.8 MB of address space")


@linux
@pytest.mark.parametrize("processes", [1, 4])
def test_few_processes(trained: Path, project: Path, tmp_path: Path, processes: int) -> None:
    """As an unprivileged user, for whom `ulimit -u` applies."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, and setpriv")
    may = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "+dac_read_search")
    some = ("--bounding-set", "-all,+dac_read_search")
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *may, *some)
    os.chown(tmp_path, 65534, 65534)
    train = ("train", "tiny.yaml", "train.epochs=1", "--backend", "numpy", "--quiet")
    for line in (
        ("predict", "photos/test", "--ckpt", trained),
        ("eval", "--ckpt", trained),
        (*train, "--out", tmp_path / "run"),
    ):
        outcome = limited(f"ulimit -u {processes}", *line, "--threads", 4, before=user)
        assert (outcome.code, outcome.err) == (0, "" if "--quiet" in line else NOTE)
    assert (tmp_path / "run" / "best.npz").is_file()
