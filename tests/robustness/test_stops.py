"""A signal outside a training step: handled at once, with exit code 75 and a run that can be
resumed.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_program import COMMAND, Outcome
from hardship import Field, assert_same_run, cnn, contents, make_field, metrics_of
from patience import PATIENCE

from cnn_cli.data import cache, content
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training import precise_bn, session, training_data, validating
from cnn_cli.training.requests import Requests, StopNow

STEPS = 2  # per epoch: 24 images in batches of 16


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), train=8, epochs=2)


@pytest.fixture(scope="module")
def whole(field: Field) -> Path:
    out = field.config.parent / "whole"
    assert cnn("train", field.config, "--out", out).code == 0
    return out


@pytest.fixture(autouse=True)
def end_of_readers() -> Iterator[None]:
    """Wait for the threads that read images: a stopped program leaves them to finish their work,
    and what they read would count as the next test's.
    """
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("data-"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def at_call(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, act: Callable[[], None]
) -> None:
    """Call a function before that call of a method."""
    original = getattr(owner, name)
    calls = itertools.count(1)
    one_by_one = threading.Lock()

    def call(*arguments: Any, **options: Any) -> Any:
        with one_by_one:
            present = next(calls)
        if present == number:
            act()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def send(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGTERM, 75, "terminated"),
        (signal.SIGHUP, 75, "terminated"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_while_files_are_listed(
    field: Field,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
    reason: str,
) -> None:
    """Files are hashed for the split; the third one is never read, and no run is left."""
    read: list[bytes] = []
    digest = content._digest

    def read_or_stop(descriptor: int, size: int) -> bytes:
        if len(read) == 2:
            signal.raise_signal(number)
        read.append(digest(descriptor, size))
        return read[-1]

    monkeypatch.setattr(content, "_digest", read_or_stop)
    data = field.pictures / "train"
    outcome = cnn("train", field.config, "--data", data, "--out", tmp_path / "run", "--json")
    assert (outcome.code, outcome.err) == (code, "")
    assert f'"stopped": "{reason}"' in outcome.out
    assert len(read) == 2
    assert not (tmp_path / "run").exists()


def terminate(whom: str) -> None:
    """Send SIGTERM to the main thread, or to the calling thread, which does not interrupt the main
    thread's wait. Neither does a signal just before the wait.
    """
    thread = threading.main_thread() if whom == "main" else threading.current_thread()
    assert thread.ident is not None
    signal.pthread_kill(thread.ident, signal.SIGTERM)


@pytest.mark.parametrize("whom", ["main", "worker"])
def test_while_the_statistics_are_measured(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whom: str
) -> None:
    """On worker threads, one of which never returns."""
    answered = threading.Event()

    def hang() -> None:
        terminate(whom)
        answered.wait(PATIENCE)

    at_call(monkeypatch, cache, "load_image", 5, hang)
    outcome = cnn("train", field.config, "--out", tmp_path / "run", "--quiet", "--threads", 2)
    assert not answered.is_set()
    answered.set()
    assert outcome == Outcome(75, "", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("whom", ["main", "worker"])
def test_while_a_batch_is_waited_for(
    field: Field, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whom: str
) -> None:
    """A disk that stops answering, in the second epoch; nothing is cached."""
    out = tmp_path / "run"
    line = ("train", field.config, "--out", out, "--quiet")
    uncached = "data.cache=none"
    answered = threading.Event()

    def hang() -> None:
        terminate(whom)
        answered.wait(PATIENCE)

    images = 24 + 24 + 24 + 12  # statistics, an epoch, its batchnorm statistics, its validation
    at_call(monkeypatch, cache, "load_image", images + 20, hang)
    assert cnn(*line, uncached) == Outcome(75, "", "")
    assert not answered.is_set()
    answered.set()
    monkeypatch.undo()
    meta = load_checkpoint(out / "last.npz").meta
    assert STEPS <= meta["step"] <= STEPS + 1
    assert cnn(*line, uncached, "--resume").code == 0
    assert_same_run(whole, out)


@pytest.mark.parametrize(
    ("owner", "phase"), [(precise_bn, "estimate_statistics"), (validating, "evaluate")]
)
@pytest.mark.parametrize("epoch", [1, 2])
def test_while_an_epoch_is_evaluated(
    field: Field,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: ModuleType,
    phase: str,
    epoch: int,
) -> None:
    """The epoch's steps are saved, and evaluated when the run is resumed."""
    out = tmp_path / "run"
    at_call(monkeypatch, owner, phase, epoch, send(signal.SIGTERM))
    line = ("train", field.config, "--out", out, "--quiet")
    assert cnn(*line) == Outcome(75, "", "")
    assert load_checkpoint(out / "last.npz").meta["step"] == epoch * STEPS
    assert len(metrics_of(out)) == epoch - 1
    assert cnn(*line, "--resume") == Outcome(0, "", "")
    assert_same_run(whole, out)


def test_the_time_limit_lets_an_evaluation_end(field: Field, tmp_path: Path) -> None:
    """Otherwise an evaluation longer than the limit would restart forever."""
    out = tmp_path / "run"
    for epochs in (1, 2):
        line = ("train", field.config, "--out", out, "--resume", "--quiet", "-b", 24)
        outcome = cnn(*line, "--time-limit", "0.001s")
        assert (outcome.code, len(metrics_of(out))) == ((75, 1) if epochs == 1 else (0, 2))


def test_a_save_asked_for_during_an_evaluation(
    field: Field, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_call(monkeypatch, validating, "evaluate", 1, send(signal.SIGUSR1))
    assert cnn("train", field.config, "--out", tmp_path / "run").code == 0
    assert_same_run(whole, tmp_path / "run")


def test_stopping_while_it_goes_on_leaves_the_checkpoint_alone(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert cnn("train", field.config, "--out", out, "--epochs", 1).code == 0
    before = contents(out)
    at_call(monkeypatch, session, "open_training_data", 1, send(signal.SIGTERM))
    line = ("train", field.config, "--out", out, "--resume", "--json")
    outcome = cnn(*line)
    assert (outcome.code, outcome.err) == (75, "")
    assert '"epochs": 1' in outcome.out
    assert contents(out) == before


def test_overwriting_begins_when_nothing_else_can_fail(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a signal, missing images or a network that is too large, the old run still exists."""
    out = tmp_path / "run"
    assert cnn("train", field.config, "--out", out, "--epochs", 1).code == 0
    before = contents(out)
    line = ("train", field.config, "--out", out, "--overwrite", "--quiet")
    assert cnn(*line, "--data", tmp_path / "gone").code == 4
    assert cnn(*line, "model.layers.0.conv.out_channels=1000000000").code == 3
    assert cnn(*line, "--weights", tmp_path / "gone.npz").code == 4
    with monkeypatch.context() as patch:
        at_call(patch, training_data, "channel_sums", 1, send(signal.SIGTERM))
        assert cnn(*line).code == 75
    assert contents(out) == before
    assert cnn(*line, "--weights", out, "--epochs", 0).code == 0
    assert not (out / "best.npz").exists()


def test_reports_that_are_pipes_are_not_waited_for(
    field: Field, whole: Path, tmp_path: Path
) -> None:
    """Their names belong to the run: files replace them."""
    out = tmp_path / "run"
    out.mkdir()
    for name in ("metrics.csv", "log.jsonl"):
        os.mkfifo(out / name)
    assert cnn("train", field.config, "--out", out, "--resume", "--quiet") == Outcome(0, "", "")
    assert_same_run(whole, out)


def test_a_dry_run_has_nothing_to_save(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("train", field.config, "--data", field.pictures / "train", "--dry-run")
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with monkeypatch.context() as patch:
            at_call(patch, content, "_digest", 3, send(number))
            assert cnn(*line) == Outcome(code, "", "")


def test_one_stop_is_enough() -> None:
    requests = Requests()
    with pytest.raises(StopNow) as caught, requests.at_once():
        requests.ask_stop("terminated")
    assert caught.value.reason == "terminated"
    requests.ask_stop("interrupted")  # outside, it is only recorded
    assert requests.stop_reason() == "terminated"
    with pytest.raises(StopNow), requests.at_once():
        pytest.fail("it was asked for before")
    with pytest.raises(StopNow):
        next(requests.awaited(iter([1])))


HANGING = """
import signal, sys, threading
from cnn_cli.data import cache, loader
from cnn_cli.cli.main import main
calls, load = iter(range(10**9)), cache.load_image
def hang(*arguments, **options):
    if next(calls) == {call}:
        print("hanging", flush=True)
        threading.Event().wait()
    return load(*arguments, **options)
cache.load_image = loader.load_image = hang
main()
"""


@pytest.mark.parametrize("command", ["train", "eval"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_thread_that_hangs_does_not_keep_the_program_from_ending(
    field: Field, whole: Path, tmp_path: Path, command: str, number: int
) -> None:
    arguments = {
        "train": [field.config, "--out", tmp_path / "run", "--threads=2"],
        "eval": [field.pictures, "--ckpt", whole, "--threads=2"],
    }[command]
    script = HANGING.format(call=7)
    process = subprocess.Popen(
        [sys.executable, "-c", script, command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"hanging\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    codes = {"train": {signal.SIGTERM: 75, signal.SIGINT: 130}, "eval": {signal.SIGTERM: 143}}
    assert process.returncode == codes[command].get(signal.Signals(number), 130)
    assert b"Traceback" not in err


# Sends itself a signal after some files were written, before the last one is renamed; and `again`
# while that one is deleted: closing a terminal sends two signals, and so do impatient users.
WRITING = """
import os, signal, sys, time
from pathlib import Path
from cnn_cli import files
from cnn_cli.cli.main import main
number, last, first, again = (int(sys.argv.pop(1)) for _ in range(4))
fill, unlink, calls = files._fill, Path.unlink, iter(range(1, 10**9))
def send(times):
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
def interrupted_fill(file, data):
    fill(file, data)
    if next(calls) == last:
        Path.unlink = interrupted_unlink
        send(first)
def interrupted_unlink(self, **options):
    Path.unlink = unlink
    send(again)
    return unlink(self, **options)
files._fill = interrupted_fill
main()
"""


def interrupted(name: str, last: int, first: int, again: int, *arguments: object) -> Outcome:
    """Run a process that gets a signal while it writes its file number `last`."""
    numbers = getattr(signal, f"SIG{name}").value, last, first, again
    done = subprocess.run(
        [sys.executable, "-c", WRITING, *map(str, (*numbers, *arguments))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("name", "again"), [("HUP", 0), ("QUIT", 0), ("HUP", 1), ("INT", 1), ("XCPU", 1)]
)
def test_no_signal_leaves_a_half_written_output(
    field: Field, whole: Path, tmp_path: Path, name: str, again: int
) -> None:
    path = tmp_path / "labels"
    line = ("predict", field.pictures / "val", "--ckpt", whole, "--output", path)
    code = 128 + getattr(signal, f"SIG{name}")
    assert interrupted(name, 1, 1, again, *line) == Outcome(code, "", "")
    assert list(tmp_path.iterdir()) == []


# Sends a thread a signal while the main thread waits for a list's next line.
LISTENING = """
import signal, sys, threading, time
from cnn_cli.data import sources
from cnn_cli.cli.main import main
number, read_list = int(sys.argv.pop(1)), sources.read_list
def signal_soon():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), number)
def listening(*arguments):
    threading.Thread(target=signal_soon, daemon=True).start()
    return read_list(*arguments)
sources.read_list = listening
main()
"""


@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("pipe", ["-", "list"])
def test_a_signal_reaches_who_waits_for_a_list(
    whole: Path, tmp_path: Path, name: str, pipe: str
) -> None:
    """The pipe has no writer, and another thread received the signal."""
    number, folder = getattr(signal, f"SIG{name}").value, tmp_path / "out"
    folder.mkdir()
    os.mkfifo(tmp_path / "list")
    silent = os.open(tmp_path / "list", os.O_RDWR)
    source = tmp_path / pipe if pipe == "list" else pipe
    line = ["predict", "--from-file", source, "--ckpt", whole, "--output", folder / "labels"]
    try:
        done = subprocess.run(
            [sys.executable, "-c", LISTENING, *map(str, (number, *line))],
            stdin=silent,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(silent)
    code = {"INT": 130, "TERM": 143}[name]
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["predict", "eval"])
def test_what_a_kill_leaves_half_written_is_gone_after_the_next_run(
    field: Field, whole: Path, tmp_path: Path, command: str
) -> None:
    options = {
        "predict": (field.pictures / "val", "--output"),
        "eval": (field.pictures, "--predictions"),
    }
    line = (command, *options[command], tmp_path / "labels.csv", "--ckpt", whole)
    assert interrupted("KILL", 1, 1, 0, *line) == Outcome(-signal.SIGKILL, "", "")
    (half,) = tmp_path.iterdir()
    assert half.suffix == ".tmp"
    assert cnn(*line).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


@pytest.mark.parametrize("which", [1, 2])
def test_of_several_outputs_each_is_whole_or_as_it_was(
    field: Field, whole: Path, tmp_path: Path, which: int
) -> None:
    outputs = [tmp_path / "predictions.csv", tmp_path / "confusion.csv"]
    for path in outputs:
        path.write_text("old")
    options = ("--predictions", outputs[0], "--confusion", outputs[1])
    line = ("eval", field.pictures, "--ckpt", whole, *options)
    assert interrupted("HUP", which, 1, 1, *line) == Outcome(129, "", "")
    assert sorted(tmp_path.iterdir()) == sorted(outputs)
    assert [path.read_text() == "old" for path in outputs] == [which == 1, True]


def test_three_interrupts_leave_no_half_written_checkpoint(
    field: Field, whole: Path, tmp_path: Path
) -> None:
    """The first requests a stop, the second ends the saving, the third its cleanup."""
    out, names = tmp_path / "run", {".lock", "config.yaml", "receipt.csv", "best.npz"}
    line = ("train", field.config, "--out", out, "--quiet")
    assert interrupted("INT", len(names), 2, 1, *line) == Outcome(130, "", "")
    assert {path.name for path in out.iterdir()} == names
    assert cnn(*line, "--resume") == Outcome(0, "", "")
    assert_same_run(whole, out)


def test_a_second_interrupt_ends_a_long_step(field: Field, tmp_path: Path) -> None:
    """The first waits for the step to end; the second does not, and saves nothing."""
    script = (
        "import time\n"
        "from cnn_cli.nn.training_engine import TrainingEngine\n"
        "from cnn_cli.cli.main import main\n"
        "def step(self, *arguments, **options):\n"
        "    print('stepping', flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.05)\n"  # a signal just before a long sleep would wait for its end
        "TrainingEngine.train_step = step\n"
        "main()\n"
    )
    line = [sys.executable, "-c", script, "train", str(field.config), "--out", str(tmp_path / "r")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"stepping\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"\n"
    line_said = process.stderr.readline()
    assert line_said == b"cnn: stopping after this step; a second interrupt stops at once\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert not (tmp_path / "r/last.npz").exists()


@pytest.mark.parametrize("ignored", ["INT", "TERM"])
def test_a_signal_ignored_at_the_start_stays_ignored(
    field: Field, tmp_path: Path, ignored: str
) -> None:
    """As shells ignore INT for background processes."""
    out = tmp_path / "run"
    line = [*COMMAND, "train", str(field.config), "--out", str(out), "--epochs=1000000"]
    script = ["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh", *line, "--quiet"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + PATIENCE
        while not (out / "metrics.csv").exists():
            assert process.poll() is None
            assert time.monotonic() < end
        process.send_signal(getattr(signal, f"SIG{ignored}"))
        before = (out / "metrics.csv").stat().st_mtime_ns
        while (out / "metrics.csv").stat().st_mtime_ns == before:
            assert process.poll() is None
            assert time.monotonic() < end
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 75
    finally:
        process.kill()
        process.wait()


def test_an_interrupt_while_the_program_is_imported_is_silent() -> None:
    """Python would print a traceback."""
    script = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cnn_cli.cli.main':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from cnn_cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
