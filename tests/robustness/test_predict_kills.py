"""SIGKILL of `cnn predict` at any moment: nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_program import COMMAND
from hardship import Field, cnn, make_field
from patience import PATIENCE, wait_until

PICTURES = 60
FEW, MANY = 3, 20
KILLS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.soak)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to predict with."""
    field: Field = make_field(tmp_path_factory.mktemp("field"), train=4, epochs=1)
    out = field.config.parent / "run"
    assert cnn("train", field.config, "--out", out, "--quiet").code == 0
    return out


@pytest.fixture
def pictures(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Names and contents of distinct images in `photos`."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    one = next((trained.parent / "pictures/train").glob("*/*.png")).read_bytes()
    found = {f"{i:03}.png": one + bytes([i]) for i in range(PICTURES)}
    for name, content in found.items():
        (Path("photos") / name).write_bytes(content)
    return found


def start(trained: Path, *options: str) -> subprocess.Popen[bytes]:
    line = ("predict", "--ckpt", str(trained), "-b", "1", "--threads", "1", *options)
    return subprocess.Popen([*COMMAND, *line], stdout=subprocess.DEVNULL)


def killed(
    kills: int, begin: Callable[[], subprocess.Popen[bytes]], done: Callable[[], int]
) -> subprocess.Popen[bytes]:
    """Kill a command that many times, each after some progress; return the next process."""
    rng = np.random.default_rng(kills)
    for wanted in sorted(rng.integers(1, PICTURES - 1, kills)):
        process = begin()
        end = time.monotonic() + PATIENCE
        while done() < wanted and process.poll() is None:
            assert time.monotonic() < end
        time.sleep(rng.uniform(0, 0.005))  # at any point of its work
        process.kill()
        process.wait()
    return begin()


def sorted_contents() -> Counter[bytes]:
    return Counter(path.read_bytes() for path in Path("out").rglob("*.*") if path.is_file())


def count_sorted() -> int:
    return sum(len(files) for _, _, files in os.walk("out"))


def count_rows() -> int:
    path = Path("out.jsonl")
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_each_row_once(names: dict[str, bytes]) -> None:
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert sorted(row["path"] for row in rows) == [f"photos/{name}" for name in sorted(names)]


@pytest.mark.parametrize("kills", KILLS)
def test_append(trained: Path, pictures: dict[str, bytes], kills: int) -> None:
    line = ("photos", "--append", "out.jsonl")
    assert killed(kills, lambda: start(trained, *line), count_rows).wait(PATIENCE) == 0
    assert_each_row_once(pictures)


@pytest.mark.parametrize("how", ["--copy", "--link", "--move"])
@pytest.mark.parametrize("kills", KILLS)
def test_sort_into(trained: Path, pictures: dict[str, bytes], kills: int, how: str) -> None:
    line = ("photos", "--sort-into", "out", how)
    assert killed(kills, lambda: start(trained, *line), count_sorted).wait(PATIENCE) in (0, 4)
    assert sorted_contents() == Counter(pictures.values())
    assert os.listdir("photos") == [] if how == "--move" else len(os.listdir("photos")) == PICTURES
    assert not list(Path("out").rglob(".cnn-*"))


@pytest.mark.parametrize("kills", KILLS)
def test_watch(trained: Path, pictures: dict[str, bytes], kills: int) -> None:
    """Images arrive while it runs and while it does not."""
    os.rename("photos", "before")
    Path("photos").mkdir()
    coming = iter(sorted(pictures))
    line = ("--watch", "photos", "--append", "out.jsonl", "--sort-into", "out", "--move")

    def bring(count: int) -> None:
        for _ in range(count):
            if name := next(coming, None):
                shutil.copy(f"before/{name}", f"photos/.{name}")
                os.rename(f"photos/.{name}", f"photos/{name}")

    def begin() -> subprocess.Popen[bytes]:
        bring(2)
        return start(trained, *line)

    def done() -> int:
        bring(1)
        return count_rows()

    process = killed(kills, begin, done)
    try:
        bring(PICTURES)
        wait_until(lambda: count_rows() == PICTURES and not os.listdir("photos"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    finally:
        process.kill()
    assert_each_row_once(pictures)
    assert sorted_contents() == Counter(pictures.values())
