"""A training that is killed by SIGKILL at a chosen moment, and resumed.

It runs as a program with one thread, so that it may fork. All moments are numbered: before and
after each step, each sync and each rename, and in the middle of each write to a file.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from cnn_cli import files
from cnn_cli.config import load_config
from cnn_cli.nn.training_engine import TrainingEngine
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.progress import Silent
from cnn_cli.training.requests import Requests
from cnn_cli.training.train import train

COARSE = ("sync", "rename")


class Moments:
    """Counts moments of some kinds and ends the process at one of them."""

    def __init__(self, kinds: tuple[str, ...], last: int) -> None:
        self.kinds = kinds
        self.left = last

    def pass_by(self, kind: str, before_dying: Callable[[], object] = lambda: None) -> None:
        if kind not in self.kinds:
            return
        self.left -= 1
        if self.left == 0:
            before_dying()
            os.kill(os.getpid(), signal.SIGKILL)


def watch(moments: Moments) -> None:
    """Make everything that changes a run call `moments`."""
    replace, step, open_temporary = os.replace, TrainingEngine.train_step, files._open_temporary

    def watched_replace(*arguments: Any) -> None:
        moments.pass_by("rename")
        replace(*arguments)
        moments.pass_by("rename")

    def watched_step(self: TrainingEngine, *arguments: Any, **options: Any) -> Any:
        moments.pass_by("step")
        result = step(self, *arguments, **options)
        moments.pass_by("step")  # after the gradient, before the update
        return result

    class Watched(io.BufferedWriter):
        def write(self, data: Any) -> int:
            def write_half() -> None:
                super(Watched, self).write(bytes(data)[: len(bytes(data)) // 2])
                self.flush()

            moments.pass_by("write", write_half)
            return super().write(data)

    def open_watched(folder: Path, *, private: bool = False) -> tuple[Path, BinaryIO]:
        path, file = open_temporary(folder, private=private)
        return path, Watched(file.detach())  # type: ignore[attr-defined]  # it is buffered

    # A kill loses nothing that was written, so nothing has to reach the disk.
    os.fsync = lambda fd: moments.pass_by("sync")
    setattr(os, "replace", watched_replace)  # noqa: B010 - its types are many
    TrainingEngine.train_step = watched_step  # type: ignore[method-assign]  # to count it
    files._open_temporary = open_watched


def attempt(config: str, out: Path, moments: Moments) -> int:
    """Train or resume in a child process; return its exit code, or minus the signal."""
    loaded = load_config(config)
    child = os.fork()
    if child == 0:
        try:
            watch(moments)
            options = TrainOptions(out, resume=True, threads=2, backend="numpy")
            train(loaded, config, options, Requests(), Silent())
            os._exit(0)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_once(config: str, out: Path, kinds: tuple[str, ...], picked: int) -> Iterator[list[int]]:
    """Yield one run per moment, killed there and resumed; 0 picks every moment."""
    rng = np.random.default_rng(0)
    n = 0
    while True:
        n += 1 if picked == 0 else int(rng.integers(1, picked))
        folder = out / str(n)
        code = attempt(config, folder, Moments(kinds, n))
        if code == 0:
            return  # it ended before moment n
        yield [n, code, attempt(config, folder, Moments((), 0))]


def kill_often(config: str, out: Path, seed: int, longest: int) -> Iterator[list[int]]:
    """Yield one run, killed repeatedly after random numbers of moments."""
    rng = np.random.default_rng(seed)
    codes: list[int] = []
    while not codes or codes[-1] == -signal.SIGKILL:
        moments = Moments(("sync", "rename", "write", "step"), int(rng.integers(1, longest)))
        codes.append(attempt(config, out, moments))
    yield codes  # of all sessions


if __name__ == "__main__":
    how, config_file, folder, *numbers = sys.argv[1:]
    given = [int(number) for number in numbers]
    Image.preinit()  # once, not in every child
    ends = {
        "coarse": lambda: kill_once(config_file, Path(folder), COARSE, 0),
        "fine": lambda: kill_once(config_file, Path(folder), ("write", "step"), *given),
        "often": lambda: kill_often(config_file, Path(folder), *given),
    }[how]()
    print(json.dumps(list(ends)))
