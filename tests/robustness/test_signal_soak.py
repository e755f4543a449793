"""Signals at random moments of six commands, alone and under `mpiexec`: each ends with all of its
processes, without a traceback.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from cli_program import COMMAND, plainly
from hardship import Field, cnn, make_field
from mpiexec import needs_mpi, together
from patience import PATIENCE, wait_until

FEW, MANY = 4, 30
COUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.soak)]
LATEST = 3.0  # seconds after the start, when most have ended

# Exit codes after a signal: the command's own, the shell's for a signal, and the signal itself
# while Python starts and has no handler.
CODES = {0, 75, 130, 143, -signal.SIGTERM, -signal.SIGINT}


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=8, epochs=2)


@pytest.fixture(scope="module")
def trained(field: Field) -> Path:
    out = field.config.parent / "trained"
    assert cnn("train", field.config, "--out", out).code == 0
    return out


@pytest.mark.parametrize("count", COUNTS)
def test_alone(field: Field, trained: Path, tmp_path: Path, count: int) -> None:
    _soak(1, count, field, trained, tmp_path)


@needs_mpi
@pytest.mark.parametrize("count", COUNTS)
def test_two_ranks(field: Field, trained: Path, tmp_path: Path, count: int) -> None:
    _soak(2, count, field, trained, tmp_path)


def _soak(ranks: int, count: int, field: Field, trained: Path, folder: Path) -> None:
    commands: list[tuple[object, ...]] = [
        ("train", field.config, "train.epochs=1000000", "--out", folder / "run", "--overwrite"),
        ("eval", "--ckpt", trained),
        ("predict", field.pictures, "--ckpt", trained),
        ("bench", field.config),
        ("data", "check", field.pictures),
        ("explain", field.pictures, "--ckpt", trained, "--output", folder / "why"),
    ]
    draw = random.Random(ranks)
    for turn in range(count):
        arguments = (*commands[turn % len(commands)], *(("--threads", 1) if turn % 6 != 4 else ()))
        number = draw.choice([signal.SIGTERM, signal.SIGINT])
        moment = draw.uniform(0, LATEST)
        line = together(ranks, *arguments) if ranks > 1 else [*COMMAND, *plainly(arguments)]
        what = (" ".join(map(str, arguments)), number.name, moment)
        code, err = _interrupted(line, number, moment)
        assert "Traceback" not in err, (what, err)
        assert "internal error" not in err, (what, err)
        assert ranks > 1 or code in CODES, (what, code, err)


def _interrupted(line: list[str], number: int, moment: float) -> tuple[int, str]:
    """Return exit code and stderr of an interrupted command line, once all its processes have
    ended.
    """
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
        try:
            time.sleep(moment)
            process.send_signal(number)
            process.wait(PATIENCE)
            wait_until(lambda: not _of_session(process.pid))
        finally:
            for each in _of_session(process.pid):
                os.kill(each, signal.SIGKILL)
            process.wait()
        err.seek(0)
        return process.returncode, err.read()


def _of_session(leader: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(folder.name))
    return found
