"""The program under test, run in this process or in a new one."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from cnn_cli.cli.main import run

COMMAND = (sys.executable, "-m", "cnn_cli")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command.

    Attributes:
        code: the exit code.
        out, err: its output.
    """

    code: int
    out: str
    err: str


def plainly(arguments: Sequence[object]) -> list[str]:
    """Return the command line, with `--backend numpy` for commands that train or measure.

    Compiled kernels are slow to load, and have their own tests.
    """
    texts = [str(argument) for argument in arguments]
    for command in (["train"], ["init"], ["bench"], ["lr"], ["sweep"], ["data", "doubt"]):
        if texts[: len(command)] == command and "--backend" not in texts:
            texts[len(command) : len(command)] = ["--backend", "numpy"]
    return texts


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that the program wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


Inside = Callable[..., Outcome]


def call_inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """Return a function that runs a command line in this process: fast, but without real
    streams.
    """

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run(plainly(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def kill_as_each_appears(places: Sequence[str], *arguments: object) -> None:
    """Run a command line repeatedly, and kill it as soon as the next of the files exists."""
    for place in places:
        running = subprocess.Popen([*COMMAND, *plainly(arguments)])
        while not Path(place).exists() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        running.wait()


def process(*arguments: object, cwd: Path | None = None, **options: Any) -> Outcome:
    """Run a command line in a new process; undecodable bytes are returned as surrogates."""
    done: Any = subprocess.run(
        [*COMMAND, *plainly(arguments)],
        cwd=cwd,
        timeout=PATIENCE,
        check=False,
        **({"capture_output": True} | options),
    )
    out, err = (
        "" if stream is None else stream.decode("utf-8", "surrogateescape")
        for stream in (done.stdout, done.stderr)
    )
    return Outcome(done.returncode, out, err)
