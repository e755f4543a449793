"""`cnn predict` in a pipeline, and watching a folder: each image is answered as it arrives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND
from mpiexec import needs_mpi, together
from patience import PATIENCE

NAMES = ("photos/test/dark/0.png", "photos/test/grey/1.png", "photos/val/bright/2.png")


@contextmanager
def started(command: list[str], project: Path, **pipes: Any) -> Iterator[Any]:
    """A process that is killed after `PATIENCE`, so that no test waits forever."""
    with subprocess.Popen(command, cwd=project, bufsize=0, **pipes) as process:
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


@contextmanager
def running(
    project: Path, trained: Path, *options: str, command: tuple[str, ...] = COMMAND
) -> Iterator[Any]:
    """`cnn predict --from-file -` with pipes; it exits with 0 once its stdin is closed."""
    line = [*command, "predict", "--ckpt", str(trained), "--from-file", "-", *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(line, project, **pipes) as process:
        yield process
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def lines_of(process: Any) -> Any:
    """Its stdout, for reading lines."""
    return open(process.stdout.fileno(), "rb", closefd=False)


@pytest.mark.parametrize(
    ("options", "end", "start"),
    [
        ((), b"\n", "{}\t"),
        (("--threads", "2"), b"\r\n", "{}\t"),
        (("-0", "--format", "jsonl"), b"\0", '{{"path": "{}", "label": '),
        (("--format", "csv", "--output", "/dev/stdout"), b"\n", "{},"),
    ],
)
def test_each_line_is_answered_before_the_next_is_written(
    project: Path, trained: Path, options: tuple[str, ...], end: bytes, start: str
) -> None:
    with running(project, trained, *options) as process, lines_of(process) as answers:
        if "csv" in options:
            assert answers.readline() == b"path,label,prob,error\n"
        for name in NAMES:
            process.stdin.write(name.encode() + end)
            assert answers.readline().decode().startswith(start.format(name))
        # The last one without a line end.
        process.stdin.write(end.join(name.encode() for name in NAMES))
        for name in NAMES[:2]:
            assert answers.readline().decode().startswith(start.format(name))
        process.stdin.close()
        assert answers.readline().decode().startswith(start.format(NAMES[2]))
        assert answers.read() == b""


def test_json_is_answered_as_it_comes_too(project: Path, trained: Path) -> None:
    with running(project, trained, "--json") as process, lines_of(process) as answers:
        process.stdin.write(NAMES[0].encode() + b"\n")
        assert answers.readline() == b"[\n"
        process.stdin.write(NAMES[1].encode() + b"\n")
        assert answers.readline().startswith(b'{"path": "photos/test/dark/0.png"')


def test_a_list_in_a_named_pipe_into_a_named_pipe(
    project: Path, trained: Path, tmp_path: Path
) -> None:
    """Each is opened by the other end first, so that neither waits."""
    for name in ("list", "answers"):
        os.mkfifo(tmp_path / name)
    ends = [os.open(tmp_path / name, os.O_RDWR) for name in ("list", "answers")]
    places = ("--from-file", str(tmp_path / "list"), "--output", str(tmp_path / "answers"))
    command = [*COMMAND, "predict", "--ckpt", str(trained), *places]
    with (
        open(ends[0], "wb", buffering=0) as paths,
        open(ends[1], "rb") as answers,
        started(command, project),
    ):
        for name in NAMES:
            paths.write(name.encode() + b"\n")
            assert answers.readline().startswith(name.encode() + b"\t")


@needs_mpi
def test_several_processes_answer_as_well(project: Path, trained: Path) -> None:
    command = tuple(map(str, together(2)))
    with running(project, trained, command=command) as process, lines_of(process) as answers:
        for name in NAMES:
            process.stdin.write(name.encode() + b"\n")
            assert answers.readline().startswith(name.encode() + b"\t")


def test_a_folder_is_watched_until_a_signal(
    project: Path, trained: Path, picture: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(picture, inbox / "first.png")
    command = [*COMMAND, "predict", "--watch", str(inbox), "--ckpt", str(trained)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, project, **pipes) as process, lines_of(process) as answers:
        assert answers.readline().startswith(f"{inbox}/first.png\t".encode())
        for name in ("second.png", "third.png"):
            shutil.copy(picture, inbox / f".{name}")
            os.rename(inbox / f".{name}", inbox / name)
            assert answers.readline().startswith(f"{inbox}/{name}\t".encode())
        (inbox / "broken.png").write_bytes(b"no image")
        assert process.stderr.readline() == (
            f"cnn: {inbox}/broken.png: not an image Pillow can read.\n".encode()
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        assert (answers.read(), process.stderr.read()) == (b"", b"")


def test_a_folder_that_is_gone(trained: Path, picture: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(picture, inbox)
    command = [*COMMAND, "predict", "--watch", "inbox", "--ckpt", str(trained)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, tmp_path, **pipes) as process, lines_of(process) as answers:
        assert answers.readline()
        shutil.rmtree(inbox)
        assert process.wait(PATIENCE) == 4
        said = b"cnn: inbox: must not be moved, replaced or deleted while it is watched.\n"
        assert process.stderr.read() == said
