"""Standard streams: stdout contains only results, completely, whatever is closed, full or slow."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND
from foreign_networks import PTH, PTH_MODEL
from patience import PATIENCE

from cnn_cli.cli.shared import streams
from cnn_cli.cli.shared.streams import Stdout
from cnn_cli.errors import DataError
from cnn_cli.system import Listening

# Runs command lines, each in a fork of a process that has imported everything, with streams as
# Python has them if the caller closed some: `sys.stdout` and `sys.stderr` are then None.
PROGRAM = """
import json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a fork has no threads
import importlib, pkgutil
import cnn_cli
from cnn_cli.__main__ import main
for module in pkgutil.walk_packages(cnn_cli.__path__, "cnn_cli."):
    if not module.name.endswith((".compiled", ".fast")) and ".loops" not in module.name:
        importlib.import_module(module.name)

def stream(number, state, path):
    if state == "closed":
        os.close(number)
        return None
    to = "/dev/full" if state == "full" else path
    file = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, number)
    os.close(file)
    return open(number, "w", closefd=False)

def child(arguments, states):
    sys.argv = ["cnn", *arguments]
    sys.stdout = stream(1, states[0], "out")
    sys.stderr = sys.__stderr__ = stream(2, states[1], "err")
    main()

answers = []
for arguments, states in json.load(sys.stdin):
    for name in ("out", "err"):
        open(name, "w").close()
    pid = os.fork()
    if pid == 0:
        try:
            child(arguments, states)
        finally:
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    answers.append([code, *(open(name).read() for name in ("out", "err"))])
print(json.dumps(answers))
"""
PLAIN = ("open", "open")
STATES = [("open", "closed"), ("open", "full"), ("full", "open"), ("closed", "closed")]
MORE = [("closed", "open"), ("full", "full")]
LINES = {
    "help": "--help",
    "help of a command": "train --help",
    "version": "--version",
    "init": "init photos/train --budget 1m --backend numpy --json",
    "train": "train tiny.yaml --out run --overwrite --epochs 1 --backend numpy --json",
    "plan": "train tiny.yaml --out other --dry-run",
    "lr": "lr tiny.yaml --steps 20 --backend numpy",
    "sweep": "sweep tiny.yaml train.optimizer.lr=0.01,0.1 --out found --resume --backend numpy",
    "eval": "eval photos/test --ckpt model --json",
    "predict": "predict broken.png photos/test --ckpt model --format csv",
    "explain": "explain broken.png photos/test/dark/0.png --ckpt model --output seen",
    "embed": "embed broken.png photos/test --ckpt model --output features.csv",
    "report": "report model --output page.html",
    "summary": "summary tiny.yaml",
    "bench": "bench tiny.yaml --batch-size 2 --backend numpy --json",
    "check": "data check photos",
    "doubt": "data doubt model",
    "preview": "data preview tiny.yaml",
    "export": "export --ckpt model --output model.safetensors",
    "import": "import zip.pth --config foreign.yaml --output x.npz --mean 0.5 --std 0.5",
    "schema": "config schema",
    "docs": "docs training",
    "completion": "completion bash",
}
TIMED = ("init", "train", "bench")  # slower ones, whose numbers vary between calls
FEW = [("open", "closed"), ("full", "open")]
CASES = [(name, state) for name in LINES for state in (FEW if name in TIMED else STATES)]
CASES += [(name, state) for name in ("help", "version", "predict") for state in MORE]


@pytest.fixture(scope="module")
def outcomes(project: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Code, stdout and stderr of every command line in all states of its streams."""
    folder = tmp_path_factory.mktemp("streams")
    for name in ("photos", "tiny.yaml"):
        os.symlink(project / name, folder / name)
    shutil.copytree(trained, folder / "model")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    os.symlink(PTH, folder / "zip.pth")
    (folder / "foreign.yaml").write_text("data: {image_size: 8}\n" + PTH_MODEL)
    asked: list[tuple[list[str], tuple[str, str]]] = []
    keys = [*((name, PLAIN) for name in LINES), *CASES]
    for number, (name, state) in enumerate(keys):
        arguments = LINES[name].split()
        if name == "init":  # it refuses to replace a file
            arguments += ["--output", f"{number}.yaml"]
        asked.append((arguments, state))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
        cwd=folder,
    )
    return dict(zip(keys, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("name", "state"), CASES)
def test_nothing_but_results_on_stdout(outcomes: Any, name: str, state: tuple[str, str]) -> None:
    if name == "export":
        pytest.importorskip("safetensors")
    code, out, err = outcomes[name, state]
    code_before, out_before, err_before = outcomes[name, PLAIN]
    assert out_before != ""
    assert code_before in (0, 4)
    if state[0] == "open":
        assert code == code_before
        assert err == ""
        if name in TIMED:
            assert json.loads(out).keys() == json.loads(out_before).keys()
        else:
            assert out.replace("other", "") == out_before.replace("other", "")
        return
    assert code == 4
    assert out == ""
    if state[1] == "open":
        why = {"closed": "a closed stream", "full": "no space left on device"}[state[0]]
        assert err.splitlines()[-1] == f"cnn: stdout: cannot be written. Got {why}."
        assert "Traceback" not in err
        assert len(err.splitlines()) <= len(err_before.splitlines()) + 1
    else:
        assert err == ""


def test_stderr_closed_by_a_shell(trained: Path, picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    command = [*COMMAND, "predict", broken, picture, "--ckpt", trained, "--format", "csv"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 4
    header, first, second = done.stdout.splitlines()
    assert header == "path,label,prob,error"
    assert first.startswith(f"{broken},,,")
    assert second.startswith(f"{picture},")


@pytest.mark.parametrize("what", ["jsonl", "schema"])
def test_stdout_that_does_not_block_is_waited_for(
    trained: Path, picture: Path, tmp_path: Path, what: str
) -> None:
    arguments = ["config", "schema"]
    if what == "jsonl":
        (tmp_path / "list").write_text(f"{picture}\n" * 100)
        arguments = ["predict", "--from-file", "list", "--ckpt", str(trained), "--format", "jsonl"]
    whole = subprocess.run(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, check=True, timeout=PATIENCE, cwd=tmp_path
    ).stdout
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        os.close(writing)
        # A pipe holds a part of it, so the writer has to wait, however fast the reader is.
        size = fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
        got = b""
        while block := os.read(reading, 1000):
            got += block
        os.close(reading)
        assert size < len(whole)
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(PATIENCE)) == (b"", 0)
    assert got == whole


def test_what_is_written_in_part_is_written_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []
    waits: list[tuple[int, str]] = []

    def write(descriptor: int, data: memoryview) -> int:
        if len(taken) % 2 and len(waits) < len(taken):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        taken.append(bytes(data[:3]))
        return len(taken[-1])

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(
        streams, "wait_until_ready", lambda number, to, seconds: waits.append((number, to))
    )
    assert Stdout(is_closed=False).write(b"0123456789") == 10
    monkeypatch.undo()
    assert b"".join(taken) == b"0123456789"
    assert set(waits) == {(1, "write")}


def test_an_error_is_one_of_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, data: memoryview) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(DataError) as caught:
        Stdout(is_closed=False).write(b"x")
    monkeypatch.undo()
    assert str(caught.value) == "stdout: cannot be written. Got input/output error."


def test_many_descriptors() -> None:
    """`select.select` is limited to 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = 1500
    if hard != resource.RLIM_INFINITY and hard <= number:
        pytest.skip(f"no more than {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 1), hard))
    reading, writing = os.pipe()
    try:
        high = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, number)
        os.write(writing, b"some")
        os.close(writing)
        with Listening(high) as stream:
            assert stream.readall() == b"some"
        os.close(high)
    finally:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stdin_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    other = (
        "import os, sys, time; time.sleep(0.3); os.write(int(sys.argv[1]), b'late')"  # on purpose
    )
    with subprocess.Popen([sys.executable, "-c", other, str(writing)], pass_fds=[writing]):
        os.close(writing)
        with Listening(reading) as stream:
            assert stream.readall() == b"late"
    os.close(reading)
