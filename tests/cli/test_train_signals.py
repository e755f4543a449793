"""Signals to a training: it saves, and stops or continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cli_program import COMMAND, Inside, Outcome, plainly
from patience import PATIENCE

from cnn_cli.cli import train
from cnn_cli.cli.shared.signals import Terminated
from cnn_cli.cli.shared.stops import requests_from_signals
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training.requests import Requests


@contextmanager
def training(folder: Path, *options: str, ignored: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """An endless training of `tiny.yaml` in a folder; `ignored` signals are ignored from the
    start.
    """
    line = ["train", "tiny.yaml", "--epochs", "1000000", "--json", *options]
    script = f'trap "" {ignored}; exec "$@"' if ignored else 'exec "$@"'
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", *COMMAND, *line],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def rows(out: Path) -> int:
    """Return the number of epochs in the run's metrics."""
    metrics = out / "metrics.csv"
    return len(metrics.read_text().splitlines()) - 1 if metrics.exists() else 0


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 75, "terminated"),
        (signal.SIGHUP, 75, "terminated"),
        (signal.SIGXCPU, 75, "terminated"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_stop_is_saved_and_resumed(
    cnn: Inside, project: Path, tmp_path: Path, number: int, code: int, reason: str
) -> None:
    out = tmp_path / "run"
    with training(project, "--out", str(out)) as process:
        wait_for(lambda: rows(out) > 0, process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    result = json.loads(stdout)
    assert result["stopped"] == reason
    epochs = result["epochs"]
    assert epochs >= 1
    assert rows(out) == epochs
    line = ["--out", out, "--resume", "--epochs", epochs + 2, "--json"]
    outcome = cnn("train", project / "tiny.yaml", *line)
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["epochs"], result["stopped"]) == (epochs + 2, None)


@pytest.mark.skipif(sys.platform != "linux", reason="other shells count otherwise")
def test_a_limit_of_cpu_time_saves_and_stops(project: Path, tmp_path: Path) -> None:
    line = ("train", "tiny.yaml", "--epochs", 1_000_000, "--out", tmp_path / "run", "--json")
    shell = ["bash", "-c", 'ulimit -t 12; exec "$@"', "bash", *COMMAND, *plainly(line)]
    done = subprocess.run(shell, cwd=project, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 75, done.stderr
    assert json.loads(done.stdout)["stopped"] == "terminated"
    assert load_checkpoint(tmp_path / "run" / "last.npz").meta["epoch"] >= 0


def test_sigusr1_saves_and_goes_on(project: Path, tmp_path: Path) -> None:
    # With one image per step, no epoch ends before the test.
    for name in ("bright", "dark"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3000):
            link = tmp_path / "photos" / name / f"{i}.png"
            link.symlink_to(project / "photos/train" / name / "0.png")
    (tmp_path / "tiny.yaml").symlink_to(project / "tiny.yaml")
    options = ["--data", "photos", "data.val_split=0", "data.mean=0.5", "data.std=0.5", "-b", "1"]
    run = tmp_path / "runs/tiny"
    with training(tmp_path, *options) as process:
        wait_for((run / ".lock").exists, process)
        process.send_signal(signal.SIGUSR1)
        wait_for((run / "last.npz").exists, process)
        meta = load_checkpoint(run / "last.npz").meta
        assert meta["epoch"] == 0
        assert meta["step"] >= 1
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert json.loads(stdout)["stopped"] == "terminated"


def test_an_ignored_signal_stays_ignored(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with training(project, "--out", str(out), ignored="HUP") as process:
        wait_for(lambda: rows(out) > 0, process)
        process.send_signal(signal.SIGHUP)
        epochs = rows(out)
        wait_for(lambda: rows(out) > epochs + 5, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 75


def test_a_second_interrupt_stops_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    requests = Requests()
    before = signal.getsignal(signal.SIGINT)
    with requests_from_signals(requests, quiet=False):
        signal.raise_signal(signal.SIGINT)
        assert requests.stop == "interrupted"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    line = "\ncnn: stopping after this step; a second interrupt stops at once\n"
    assert capfd.readouterr().err == line


def test_the_first_reason_stays() -> None:
    requests = Requests()
    with requests_from_signals(requests, quiet=True):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert requests.stop == "terminated"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_is_repeated_stops_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """But not the second of two at once, as from `timeout` or a closed terminal."""
    requests, number, now = Requests(), signal.Signals[name], [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with requests_from_signals(requests, quiet=True):
        for _ in range(2):
            signal.raise_signal(number)
            now[0] += 0.5
        assert requests.stop == "terminated"
        with pytest.raises(Terminated) as caught:
            signal.raise_signal(number)
    assert caught.value.code == 128 + number


def test_the_limit_of_cpu_time_is_told_of_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    requests, now = Requests(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with requests_from_signals(requests, quiet=True):
        for _ in range(3):
            signal.raise_signal(signal.SIGXCPU)
            now[0] += 10
    assert requests.stop == "terminated"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "config"],
        ["sweep", "config", "train.optimizer.lr=0.01..0.1"],
    ],
    ids=["train", "sweep"],
)
def test_while_the_config_is_read(tmp_path: Path, words: list[str]) -> None:
    """From a pipe without a writer."""
    pipe = tmp_path / "config"
    os.mkfifo(pipe)
    line = [*COMMAND, *words, "--out", "run"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    writer = -1

    def is_read() -> bool:
        nonlocal writer
        with suppress(OSError):  # until it is opened for reading
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        return writer >= 0

    try:
        wait_for(is_read, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
        if writer >= 0:
            os.close(writer)
    said = b"cnn: terminated before the first step; nothing was changed\n"
    assert (process.returncode, out, err) == (75, b"", said)
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGXCPU, 75)]
)
def test_while_the_last_pictures_are_drawn(
    cnn: Inside,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
) -> None:
    """The run is finished; `--resume` draws the plots."""
    line = ("train", project / "tiny.yaml", "--out", tmp_path / "run", "--epochs", 1, "--quiet")
    drawn: list[str] = []

    def draw(path: Path, *, quiet: bool) -> None:
        drawn.append("begun")
        signal.raise_signal(number)
        drawn.append("ended")

    with monkeypatch.context() as patch:
        patch.setattr(train, "draw_run", draw)
        assert cnn(*line).code == code
    assert drawn == ["begun"]
    assert cnn(*line, "--resume") == Outcome(0, "", "")


def test_saving_is_asked_for_once() -> None:
    requests = Requests()
    with requests_from_signals(requests, quiet=True):
        signal.raise_signal(signal.SIGUSR1)
    assert requests.take_save()
    assert not requests.take_save()
    assert requests.stop is None
