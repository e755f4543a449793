"""Commands started several times by `mpiexec`: one set of messages, one exit code, one end."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_program import Outcome
from hardship import Field, cnn, make_field, metrics_of
from mpiexec import mpiexec, needs_mpi, together
from patience import PATIENCE

from cnn_cli.runs.checkpoint import load_checkpoint

pytestmark = needs_mpi
LONG: dict[str, Any] = {
    "epochs": 100_000,
    "optimizer": {"type": "sgd", "lr": 0.01},
    "scheduler": {"type": "constant", "warmup_epochs": 0},  # the same for any number of epochs
    "precise_bn": False,
    "dtype": "float64",
}


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), epochs=1)


@pytest.fixture(scope="module")
def trained(field: Field, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cnn("train", field.config, "--out", out, "--quiet").code == 0
    return out


def rounded(text: str) -> str:
    """Round to four decimals: other batch sizes round differently."""
    return re.sub(r"\d+\.\d+(e-\d+)?", lambda number: f"{float(number[0]):.4f}", text)


def test_eval_is_shared(field: Field, trained: Path, tmp_path: Path) -> None:
    """Including its files, and with more ranks than images in a batch."""
    files = [tmp_path / "one.csv", tmp_path / "three.csv"]
    line = ("eval", "--ckpt", trained, "--json", "--batch-size", 2, "--predictions")
    one, three = cnn(*line, files[0]), mpiexec(together(3, *line, files[1]))
    assert (three.code, three.err) == (0, "")
    assert rounded(three.out) == rounded(one.out)
    assert rounded(files[0].read_text()) == rounded(files[1].read_text())


def test_predict_is_shared(field: Field, trained: Path, tmp_path: Path) -> None:
    """In rounds of 3 × 4 images: one output, in order; an unreadable image is reported once."""
    pictures = shutil.copytree(field.pictures / "train", tmp_path / "pictures")
    (pictures / "dark/3.png").write_bytes(b"no picture")
    line = ("predict", pictures, "--ckpt", trained, "--batch-size", 4, "--format", "csv")
    one = cnn(*line)
    assert one.code == 4
    three = mpiexec(together(3, *line))
    assert (three.code, three.err) == (one.code, one.err)
    assert rounded(three.out) == rounded(one.out)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (("summary", "CONFIG", "--nope"), (2, "cnn: --nope: no such option of summary.\n")),
        (
            ("train", "CONFIG", "train.epochs=x"),
            (3, "cnn: CONFIG: train.epochs: must be a whole number, 0 or more. Got 'x'.\n"),
        ),
    ],
)
def test_an_error_of_all_is_said_once(field: Field, line: Any, outcome: Any) -> None:
    config = str(field.config)
    code, text = outcome
    arguments = [config if each == "CONFIG" else each for each in line]
    expected = Outcome(code, "", text.replace("CONFIG", config))
    assert cnn(*arguments) == expected
    assert mpiexec(together(3, *arguments)) == expected


def test_an_option_before_the_command_keeps_no_rank_out(field: Field, tmp_path: Path) -> None:
    line = ("--debug", "train", field.config, "--backend", "numpy", "--threads", 1, "--quiet")
    outcome = mpiexec(together(2, *line, "--out", tmp_path / "run"))
    assert outcome == Outcome(0, "", "")
    assert load_checkpoint(tmp_path / "run/last.npz").meta["ranks"] == 2


def apart(first: tuple[Any, ...], second: tuple[Any, ...]) -> list[str]:
    """A command line that gives two ranks different arguments."""
    one, other = together(1, *first), together(1, *second)
    return [*one, ":", *other[1:]]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("train.optimizer.lr=0.5", "train.ema=0.6"), "train.optimizer.lr, train.ema"),
        (("--resume",), "--resume"),
        (("--weights", "BEST"), "train.weights"),
        (("--fail-under", "auc=0.5"), "--fail-under"),
        (("--folds", "2"), "--folds"),
        (("--dry-run",), "--dry-run"),
    ],
)
def test_ranks_are_given_the_same(
    field: Field, trained: Path, tmp_path: Path, more: tuple[str, ...], what: str
) -> None:
    line = ("train", field.config, "--out", tmp_path / "run")
    other = (*line, *(str(trained / "best.npz") if each == "BEST" else each for each in more))
    rule = "all processes that mpiexec starts must be given the same"
    said = f"cnn: {field.config}: {rule}. Got another {what} on rank 1.\n"
    assert mpiexec(apart(line, other)) == Outcome(3, "", said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("line", [("train", "CONFIG", "--dry-run"), ("bench", "CONFIG", "--ranks")])
def test_ranks_without_a_run_are_given_the_same(field: Field, line: tuple[str, ...]) -> None:
    one = tuple(str(field.config) if each == "CONFIG" else each for each in line)
    rule = "all processes that mpiexec starts must be given the same"
    said = f"cnn: {field.config}: {rule}. Got another train.batch_size on rank 1.\n"
    outcome = mpiexec(apart(one, (*one, "train.batch_size=5")))
    assert outcome == Outcome(3, "", said)


def test_ranks_are_given_one_command_and_one_checkpoint(field: Field, trained: Path) -> None:
    rule = "all processes that mpiexec starts must be given the same"
    evaluation = ("eval", "--ckpt", trained)
    outcome = mpiexec(apart(evaluation, ("predict", field.pictures, "--ckpt", trained)))
    assert outcome == Outcome(3, "", f"cnn: mpiexec: {rule}. Got another command on rank 1.\n")
    outcome = mpiexec(apart((*evaluation, "--tta", "hflip"), evaluation))
    assert outcome == Outcome(3, "", f"cnn: eval: {rule}. Got another --tta on rank 1.\n")
    outcome = mpiexec(apart((*evaluation, "--calibrate", "--reject", 0.1), evaluation))
    what = "--calibrate, --reject"
    assert outcome == Outcome(3, "", f"cnn: eval: {rule}. Got another {what} on rank 1.\n")


# Makes a function on rank 0 report its call and never return.
HANGING = """
import importlib, os, sys, time
module, _, name = sys.argv.pop(1).partition(":")
def hang(*arguments, **options):
    print("hanging", file=sys.__stdout__, flush=True)
    while True:
        time.sleep(0.05)
if os.environ["PMI_RANK"] == "0":
    setattr(importlib.import_module(module), name, hang)
sys.argv[0] = "cnn"
from cnn_cli.__main__ import main
main()
"""
DRAWING = "cnn_cli.report.pictures.run_pictures:draw_pictures"
CALLS = {
    "bench": "cnn_cli.bench.network_bench:bench",
    "check": "cnn_cli.data.check:check_folder",
    "list": "cnn_cli.training.setup:open_dataset",
    "draw": DRAWING,
    "eval": "cnn_cli.cli.eval:find_images",
    "ranks": "cnn_cli.bench.rank_bench:rank_bench",
}


def hanging(call: str, field: Field, trained: Path, out: Path) -> subprocess.Popen[str]:
    """Two ranks, once the first one hangs in a call."""
    config = field.config
    line: tuple[object, ...] = {
        "bench": ("bench", config, "--classes", 3),
        "check": ("data", "check", field.pictures),
        "list": ("train", config, "--out", out, "--quiet"),
        "draw": ("train", config, "--out", out, "--quiet"),
        "eval": ("eval", "--ckpt", trained),
        "ranks": ("bench", config, "--classes", 3, "--ranks"),
    }[call]
    command = together(2, *line)
    command[4:6] = ["-c", HANGING, CALLS[call]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n", process.communicate()
    return process


def check_end(process: subprocess.Popen[str], code: int) -> None:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "cnn:" not in err
    assert "Traceback" not in out + err
    assert process.returncode == code


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("bench", signal.SIGTERM),
        ("check", signal.SIGINT),
        ("list", signal.SIGTERM),
        ("draw", signal.SIGTERM),
        ("draw", signal.SIGINT),
        ("eval", signal.SIGTERM),
        ("ranks", signal.SIGINT),
    ],
)
def test_a_signal_ends_all_ranks(
    field: Field, trained: Path, tmp_path: Path, call: str, number: int
) -> None:
    """Wherever rank 0 is while the other waits for it."""
    process = hanging(call, field, trained, tmp_path / "run")
    process.send_signal(number)
    saved = number == signal.SIGTERM and call in ("list", "draw")
    check_end(process, 75 if saved else 128 + number)


@pytest.mark.parametrize(("call", "code"), [("eval", 143), ("list", 75)])
def test_a_signal_to_one_rank_ends_all(
    field: Field, trained: Path, tmp_path: Path, call: str, code: int
) -> None:
    process = hanging(call, field, trained, tmp_path / "run")
    os.kill(ranks_of(process)[1], signal.SIGTERM)
    check_end(process, code)


def test_the_others_need_not_wait_for_what_rank_0_does_alone(
    field: Field, trained: Path, tmp_path: Path
) -> None:
    process = hanging("check", field, trained, tmp_path)
    until = time.monotonic() + PATIENCE
    while len(ranks_of(process)) > 1:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    check_end(process, 143)


# Sends a signal right after a function on the last rank.
LATE = """
import importlib, os, signal, sys
module, _, name = sys.argv.pop(1).partition(":")
function = getattr(importlib.import_module(module), name)
def late(*arguments, **options):
    result = function(*arguments, **options)
    signal.raise_signal(signal.SIGTERM)
    return result
if os.environ.get("PMI_RANK", "1") == "1":
    setattr(importlib.import_module(module), name, late)
sys.argv[0] = "cnn"
from cnn_cli.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["_attempt", "conclude"])
def test_a_signal_after_the_command_does_not_change_its_end(
    field: Field, trained: Path, name: str
) -> None:
    """Once the exit code is decided, for one process and for two."""
    line = together(2, "eval", field.pictures, "--ckpt", trained)
    line[4:6] = ["-c", LATE, f"cnn_cli.cli.main:{name}"]
    for command in (line, line[3:]):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        check_end(process, 0)


FAILING = """
import os, sys
flag, folder, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
def refuse(event, arguments):
    if event in ("open", "os.scandir") and str(arguments[0]).startswith(folder):
        if os.path.exists(flag):
            raise OSError(number, os.strerror(number), arguments[0])
sys.addaudithook(refuse)
sys.argv = ["cnn", *sys.argv[4:]]
from cnn_cli.__main__ import main
main()
"""


def failing(rank: int, flag: Path, folder: Path, number: int, line: list[str]) -> list[str]:
    """A command line for two ranks, one of which cannot open files in a folder once a flag
    exists.
    """
    command = line[3:]
    python, arguments = command[0], command[3:]
    ill = [python, "-c", FAILING, str(flag), str(folder), str(number), *arguments]
    first, second = (ill if number == rank else command for number in (0, 1))
    return [line[0], "-n", "1", *first, ":", "-n", "1", *second]


class Job:
    """A long training on several ranks."""

    def __init__(self, line: list[str], out: Path) -> None:
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + PATIENCE
        while not (out / "last.npz").exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)

    def end(self) -> Outcome:
        """Return how it ended; no rank waits for one that is gone."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Outcome(self.process.returncode, out, err)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes started by `mpiexec`, through its helper."""
    numbers = [process.pid]
    for _ in range(2):
        numbers = [
            int(child)
            for number in numbers
            for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()
        ]
    return numbers


def test_a_stop_is_for_all_and_any_number_goes_on(tmp_path: Path) -> None:
    field = make_field(tmp_path, **LONG)
    out = tmp_path / "run"
    line: tuple[Any, ...] = ("train", field.config, "--quiet", "--threads", 1)
    job = Job(together(2, *line, "--out", out), out)
    job.process.send_signal(signal.SIGTERM)
    outcome = job.end()
    assert outcome == Outcome(75, "", "")
    meta = load_checkpoint(out / "last.npz").meta
    assert (meta["ranks"], meta["state"]["log"][-1]["reason"]) == (2, "terminated")
    # Continue in one process, and compare with an uninterrupted run.
    epochs = f"train.epochs={meta['epoch'] + 2}"
    assert cnn(*line, epochs, "--out", out, "--resume").code == 0
    assert cnn(*line, epochs, "--out", tmp_path / "whole").code == 0
    losses = [
        [float(row["train_loss"]) for row in metrics_of(run)] for run in (out, tmp_path / "whole")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def test_a_rank_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    field, out = make_field(tmp_path, **LONG), tmp_path / "run"
    job = Job(together(3, "train", field.config, "--quiet", "--out", out), out)
    ranks = ranks_of(job.process)
    os.kill(ranks[1], signal.SIGKILL)
    outcome = job.end()
    assert outcome.code != 0
    assert "cnn:" not in outcome.err
    assert not any(Path(f"/proc/{number}").exists() for number in ranks)
    assert cnn("eval", "--ckpt", out / "last.npz", "--json").code == 0


def test_the_pictures_of_one_rank_vanish(tmp_path: Path) -> None:
    field, out, flag = make_field(tmp_path, **LONG), tmp_path / "run", tmp_path / "flag"
    line = together(2, "train", field.config, "--quiet", "--out", out, "data.cache=none")
    job = Job(failing(1, flag, field.pictures, errno.ENOENT, line), out)
    flag.touch()
    outcome = job.end()
    text = "must be a folder with a sub-folder of images for each class. Got no such folder."
    place = f"rank 1 on {platform.node()}"
    assert outcome == Outcome(4, "", f"cnn: {place}: {field.pictures}: {text}\n")
    assert load_checkpoint(out / "last.npz").meta["epoch"] > 0


def test_the_disk_of_rank_0_is_full(tmp_path: Path) -> None:
    """The other rank is meanwhile in the next step."""
    field, out, flag = make_field(tmp_path, **LONG), tmp_path / "run", tmp_path / "flag"
    line = together(2, "train", field.config, "--quiet", "--out", out)
    job = Job(failing(0, flag, out, errno.ENOSPC, line), out)
    flag.touch()
    outcome = job.end()
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.endswith(": cannot be written. Got no space left on device.\n")
    assert len(outcome.err.splitlines()) == 1
    assert load_checkpoint(out / "last.npz").meta["epoch"] > 0
