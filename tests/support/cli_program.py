"""The program under test, run inside this process or as one of its own."""

from __future__ import annotations

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
    """How a command ended.

    Attributes:
        code: the exit code.
        out, err: what it wrote.
    """

    code: int
    out: str
    err: str


def plainly(arguments: Sequence[object]) -> list[str]:
    """The command line, with NumPy where what trains or measures does not say what with.

    Compiled kernels take time to load, and have tests of their own.
    """
    texts = [str(argument) for argument in arguments]
    for command in (["train"], ["init"], ["bench"], ["lr"], ["sweep"], ["data", "doubt"]):
        if texts[: len(command)] == command and "--backend" not in texts:
            texts[len(command) : len(command)] = ["--backend", "numpy"]
    return texts


Inside = Callable[..., Outcome]


def call_inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """A function that runs a command line in this process: quick, but without its streams."""

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run(plainly(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def kill_as_each_appears(places: Sequence[str], *arguments: object) -> None:
    """Run a command line again and again, and kill it as soon as the next of the files is there."""
    for place in places:
        running = subprocess.Popen([*COMMAND, *plainly(arguments)])
        while not Path(place).exists() and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        running.wait()


def process(*arguments: object, cwd: Path | None = None, **options: Any) -> Outcome:
    """Run a command line as a process of its own; undecodable bytes come back as surrogates."""
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
