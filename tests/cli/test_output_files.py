"""`--output` to files, pipes and open descriptors, and the permissions of files."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from cli_program import Inside, process
from patience import PATIENCE


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


@pytest.mark.parametrize("append", ["", "a"])
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_what_stands_around_it_in_a_log_stays(
    trained: Path, tmp_path: Path, name: str, append: str
) -> None:
    """As in `(echo a; cnn predict ... --output /dev/stdout; echo b) > log`, or `>> log`."""
    log = tmp_path / "log"
    with open(log, append or "w") as file:
        print("a", file=file, flush=True)
        line = ("predict", "photos/test/dark/0.png", "--ckpt", trained, "--output", name)
        outcome = process(*line, capture_output=False, stdout=file, stderr=-1)
        file.seek(0, os.SEEK_END)
        print("b", file=file, flush=True)
    assert (outcome.code, outcome.err) == (0, "")
    first, second, last = log.read_text().splitlines()
    assert (first, second.split("\t")[0], last) == ("a", "photos/test/dark/0.png", "b")


def test_a_closed_stdout_is_no_file(trained: Path) -> None:
    line = f"predict photos/test/dark/0.png --ckpt {trained} --output -"
    outcome = shell(f"exec {{}} -m cnn_cli {line} >&-")
    assert outcome == (4, "cnn: -: cannot be written. Got a closed stream.\n")


def test_a_descriptor_that_is_not_open(cnn: Inside, trained: Path) -> None:
    line = ("predict", "photos/test/dark/0.png", "--ckpt", trained, "--output", "/dev/fd/987654")
    outcome = cnn(*line)
    assert outcome.code == 4
    assert outcome.err == "cnn: /dev/fd/987654: cannot be written. Got bad file descriptor.\n"


def shell(line: str) -> tuple[int, str]:
    import subprocess
    import sys

    done = subprocess.run(
        ["bash", "-c", line.format(sys.executable)],
        stderr=-1,
        check=False,
        timeout=PATIENCE,
        text=True,
    )
    return done.returncode, done.stderr


def test_a_named_pipe(cnn: Inside, trained: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    outcome = cnn("predict", "photos/test/dark/0.png", "--ckpt", trained, "--output", pipe)
    reader.join(60)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert got[0].split("\t")[0] == "photos/test/dark/0.png"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_is_said_of_a_page_on_stdout_goes_to_stderr(trained: Path) -> None:
    outcome = process("report", trained, "--output", "-")
    assert outcome.code == 0
    assert outcome.out.startswith("<!DOCTYPE html>")
    assert outcome.out.rstrip().endswith("</html>")
    assert outcome.err.startswith("-: top-1 ")


def test_a_config_on_stdout(project: Path) -> None:
    outcome = process("init", "photos", "--budget", "1s", "--output", "-", "--json")
    assert outcome.code == 0
    assert "model:" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("{")
    assert not (project / "-").exists()


def test_a_run_keeps_the_permissions_of_its_files(cnn: Inside, tmp_path: Path) -> None:
    """And the target of a link in it is not written."""
    run = tmp_path / "run"
    line = ("train", "tiny.yaml", "--out", run, "--threads", 1, "--quiet")
    assert cnn(*line, "train.epochs=1").code == 0
    files = sorted(path for path in run.iterdir() if path.name != ".lock")
    for path in files:
        path.chmod(0o600)
    kept = tmp_path / "kept.csv"
    shutil.move(run / "metrics.csv", kept)
    (run / "metrics.csv").symlink_to(kept)
    before = kept.read_bytes()
    assert cnn(*line, "train.epochs=3", "--resume").code == 0
    assert kept.read_bytes() == before
    assert not (run / "metrics.csv").is_symlink()
    assert (run / "metrics.csv").read_bytes().startswith(before)
    for path in files:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == 0o600 or path.name == "metrics.csv", path


def test_a_lock_is_no_link(cnn: Inside, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").symlink_to(tmp_path / "elsewhere")
    outcome = cnn("train", "tiny.yaml", "--out", run, "--quiet")
    assert outcome.code == 4
    assert outcome.err == f"cnn: {run}/.lock: cannot be written. Got a symbolic link.\n"
    assert not (tmp_path / "elsewhere").exists()
