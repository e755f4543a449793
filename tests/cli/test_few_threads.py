"""Where the system lets few threads be started, or none: the same results, and a line."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_program import COMMAND, Inside
from patience import PATIENCE

from cnn_cli.data.pool import Pool
from cnn_cli.nn.team import Team

NOTE = "cnn: not all threads could be started; the others did their work\n"


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def allow(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let so many more threads be started."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
def test_little_address_space(trained: Path) -> None:
    line = ["predict", "photos/test", "--ckpt", str(trained), "--threads", "200"]
    limited = ["bash", "-c", 'ulimit -v 600000; exec "$@"', "bash", *COMMAND, *line]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, NOTE)
    assert len(done.stdout.splitlines()) == 6
