"""SIGKILL at any moment, then `--resume`, gives the bits of an uninterrupted run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import killing
import numpy as np
import pytest
from cli_program import COMMAND, plainly
from hardship import Field, assert_same_run, cnn, make_field, metrics_of, weights_of
from patience import PATIENCE

from cnn_cli.runs.checkpoint import load_checkpoint

ROOT = Path(__file__).parent.parent.parent
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    field = make_field(tmp_path_factory.mktemp("field"), train=8, epochs=2, checkpoint_every=3)
    (field.pictures / "train/dark/broken.png").write_bytes(b"no image")
    return field


@pytest.fixture(scope="module")
def whole(field: Field) -> Path:
    """An uninterrupted run."""
    out = field.config.parent / "whole"
    outcome = cnn("train", field.config, "--out", out, "--quiet", "--threads", 2)
    assert outcome.code == 0, outcome.err
    return out


def kill(field: Field, out: Path, how: str, *numbers: int) -> list[list[int]]:
    """Return what `killing.py` prints: a list of exit codes per run."""
    line = [sys.executable, killing.__file__, how, str(field.config), str(out), *map(str, numbers)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ends: list[list[int]] = json.loads(done.stdout)
    return ends


@pytest.mark.parametrize(("how", "numbers"), [("coarse", ()), ("fine", (150,))])
def test_killed_once_at_every_moment(
    field: Field, whole: Path, tmp_path: Path, how: str, numbers: tuple[int, ...]
) -> None:
    """`coarse` is before and after every sync and rename, `fine` a random choice of moments within
    writes and around steps.
    """
    ends = kill(field, tmp_path, how, *numbers)
    assert len(ends) >= 8
    assert {(code, resumed) for _, code, resumed in ends} == {(KILLED, 0)}
    for moment, _, _ in ends:
        assert_same_run(whole, tmp_path / str(moment))


def test_killed_again_and_again(field: Field, whole: Path, tmp_path: Path) -> None:
    (codes,) = kill(field, tmp_path / "run", "often", 0, 400)
    assert codes.count(KILLED) >= 5
    assert codes[-1] == 0
    assert_same_run(whole, tmp_path / "run")


def start(config: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    line = ["train", config, "--out", out, "--resume", "--quiet", "--threads=2", *options]
    return subprocess.Popen(
        [*COMMAND, *plainly(line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_whole_processes_killed_at_random_times(field: Field, whole: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = start(field.config, tmp_path / "run")
        try:
            process.wait(float(rng.uniform(0.2, 0.6)))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    process = start(field.config, tmp_path / "run")
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 0
    assert_same_run(whole, tmp_path / "run")


def test_reports_are_written_again_after_a_kill_between_the_files(
    field: Field, tmp_path: Path
) -> None:
    """`last.npz` contains an epoch that the other files lack."""
    out = tmp_path / "run"
    assert cnn("train", field.config, "--out", out, "--epochs", 1).code == 0
    before = (out / "metrics.csv").read_bytes(), (out / "log.jsonl").read_bytes()
    rows = metrics_of(out)
    for epochs, name in ((1, "metrics.csv"), (1, "log.jsonl"), (2, "metrics.csv")):
        (out / name).write_text("of an older epoch\n")
        assert cnn("train", field.config, "--out", out, "--resume", "--epochs", epochs).code == 0
        if epochs == 1:
            assert ((out / "metrics.csv").read_bytes(), (out / "log.jsonl").read_bytes()) == before
    assert metrics_of(out)[:1] == rows


def test_a_finished_run_is_left_alone(field: Field, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cnn("train", field.config, "--out", out).code == 0
    before = {path.name: path.stat() for path in out.iterdir()}
    outcome = cnn("train", field.config, "--out", out, "--resume", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    for path in out.iterdir():
        old, new = before.pop(path.name), path.stat()
        assert (old.st_ino, old.st_mtime_ns) == (new.st_ino, new.st_mtime_ns), path
    assert not before


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["numpy", "fast"])
def test_fifty_kills_of_the_small_config(tmp_path: Path, backend: str) -> None:
    """All epochs of `configs/small.yaml`, with 50 random SIGKILLs."""
    config, kills = ROOT / "configs/small.yaml", 50
    options = "--backend", backend
    process = start(config, tmp_path / "whole", *options)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0
    steps = step_of(tmp_path / "whole")

    # By steps, not by time, since a machine's speed may change.
    rng, out = np.random.default_rng(0), tmp_path / "parts"
    for step in sorted(rng.integers(0, steps * 4 // 5, kills)):
        process = start(config, out, "train.checkpoint_every=3", *options)
        while step_of(out) < step and process.poll() is None:
            time.sleep(0.01)
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(rng.uniform(0, 0.5)))
        process.kill()
        assert process.communicate() == (b"", b"")
        assert process.returncode == KILLED
    assert step_of(out) > steps / 2
    process = start(config, out, "train.checkpoint_every=3", *options)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0
    assert_same_run(tmp_path / "whole", out)
    print(f"{backend}: {kills} kills over {steps} steps; weights {weights_of(out)}")


def step_of(run: Path) -> int:
    """Return the step of a run's last checkpoint; 0 before the first."""
    last = run / "last.npz"
    return int(load_checkpoint(last, ()).meta["step"]) if last.exists() else 0
