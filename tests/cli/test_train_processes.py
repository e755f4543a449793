"""`train.processes`: a training that starts others like itself, and ends as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND, Outcome, plainly, process
from hardship import Field, assert_same_run, cnn, make_field, weights_of
from launchers import DEEP, needs_memory
from learnable import make_pictures
from mpiexec import mpiexec, needs_mpi, together
from patience import PATIENCE, wait_until

from cnn_cli.config import load_config
from cnn_cli.errors import ConfigError
from cnn_cli.parallel.ranks import PlannedRanks
from cnn_cli.runs.checkpoint import load_checkpoint
from cnn_cli.training import memory, process_count, setup
from cnn_cli.training.options import TrainOptions
from cnn_cli.training.process_count import Processes, choose_processes
from cnn_cli.training.setup import prepare


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return make_field(tmp_path_factory.mktemp("field"), epochs=1)


def line_of(field: Field, out: Path, *more: object) -> list[str]:
    line = ("train", field.config, "--quiet", "--threads", 1, "--out", out, *more)
    return [*COMMAND, *plainly(line)]


def is_there(number: int) -> bool:
    """Whether a process has not ended; one that nobody waits for has."""
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


class Job:
    """A long training of several processes, which must have ended when it has.

    Attributes:
        workers: the numbers of those that the first one started.
    """

    def __init__(self, line: list[str], out: Path, count: int = 3) -> None:
        self.files = set(os.listdir("/dev/shm"))
        self.process = subprocess.Popen(
            [*line, f"train.processes={count}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: (out / "last.npz").exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()
        number = self.process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text()
        self.workers = [int(child) for child in children.split()]
        assert len(self.workers) == count - 1

    def end(self) -> Outcome:
        out, err = self.process.communicate(timeout=PATIENCE)
        wait_until(lambda: not any(map(is_there, self.workers)))
        assert set(os.listdir("/dev/shm")) <= self.files
        return Outcome(self.process.returncode, out, err)


@needs_memory
@pytest.mark.parametrize("worker", [False, True])
def test_a_stop_is_for_all_and_any_number_goes_on(tmp_path: Path, worker: bool) -> None:
    """To the same bits as one process that was never stopped."""
    field = Field(make_pictures(tmp_path / "pictures", 12, 2, side=32), tmp_path / "deep.yaml")
    field.config.write_text(DEEP)
    constant = "train.scheduler={type: constant, warmup_epochs: 0}"  # for any number of epochs
    out, more = tmp_path / "run", ["--data", str(field.pictures), constant]
    job = Job(line_of(field, out, *more, "train.epochs=1000"), out, 2)
    os.kill(job.workers[0] if worker else job.process.pid, signal.SIGTERM)
    assert job.end() == Outcome(75, "", "")
    meta = load_checkpoint(out / "last.npz").meta
    assert (meta["ranks"], meta["state"]["log"][-1]["reason"]) == (2, "terminated")
    more.append(f"train.epochs={meta['epoch'] + 2}")
    outcome = process(*line_of(field, out, *more, "--resume", "train.processes=4")[3:])
    assert outcome == Outcome(0, "", "")
    assert cnn(*line_of(field, tmp_path / "whole", *more)[3:]).code == 0
    for name in ("last.npz", "best.npz"):
        assert weights_of(out, name) == weights_of(tmp_path / "whole", name), name


@needs_memory
def test_the_first_one_is_killed(tmp_path: Path) -> None:
    """Nothing of it is left, the run is whole, and its folder is not locked."""
    field, out = make_field(tmp_path, epochs=100_000), tmp_path / "run"
    job = Job(line_of(field, out), out)
    job.process.kill()
    assert job.end() == Outcome(-signal.SIGKILL, "", "")
    assert cnn("eval", "--ckpt", out / "last.npz", "--json").code == 0
    assert cnn(*line_of(field, out, "--resume", "train.epochs=1")[3:]).code == 0


@needs_memory
def test_another_one_is_killed(tmp_path: Path) -> None:
    field, out = make_field(tmp_path, epochs=100_000), tmp_path / "run"
    job = Job(line_of(field, out), out)
    os.kill(job.workers[1], signal.SIGKILL)
    rule = "train.processes: a worker process must not end before the others"
    assert job.end() == Outcome(4, "", f"cnn: {rule}. Got one that ended by SIGKILL.\n")


@needs_memory
def test_two_interrupts_end_all_at_once(tmp_path: Path) -> None:
    """A terminal sends them to all; here they come to the first one alone."""
    field, out = make_field(tmp_path, epochs=100_000), tmp_path / "run"
    job = Job(line_of(field, out), out)
    os.kill(job.workers[0], signal.SIGSTOP)  # nobody gets any further
    while job.process.poll() is None:
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert job.end() == Outcome(130, "", "")


@needs_memory
def test_the_pictures_vanish(tmp_path: Path) -> None:
    field, out = make_field(tmp_path, epochs=100_000), tmp_path / "run"
    job = Job(line_of(field, out, "data.cache=none"), out)
    field.pictures.rename(tmp_path / "elsewhere")
    text = "must be a folder with a sub-folder of images for each class. Got no such folder."
    assert job.end() == Outcome(4, "", f"cnn: {field.pictures}: {text}\n")


# Has one of the processes fail at its first batch.
FAILING = """
import sys
from cnn_cli.errors import DataError
from cnn_cli.parallel import batches, launcher
def fail(*arguments, **options):
    raise DataError("here", "must work")
if launcher.started_as() == {rank}:
    batches.BatchSplitter._rank_batch = fail
"""


@contextmanager
def failing(folder: Path, rank: int) -> Iterator[Mapping[str, str]]:
    """The environment of a program of which one process fails."""
    (folder / "sitecustomize.py").write_text(FAILING.format(rank=rank))
    yield {**os.environ, "PYTHONPATH": str(folder)}


@needs_memory
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_one_of_them_fails(field: Field, tmp_path: Path, rank: int) -> None:
    """It tells its error; those that wait for it are not waited for."""
    with failing(tmp_path, rank) as environment:
        line = line_of(field, tmp_path / "run", "train.processes=3")
        outcome = process(*line[3:], env=environment)
    assert outcome == Outcome(4, "", "cnn: here: must work.\n")


@needs_memory
def test_one_voice(field: Field, tmp_path: Path) -> None:
    """With --json and with text; the config comes through a pipe, which is read once."""
    text = field.config.read_bytes().replace(b"root: pictures", b"root: %a" % str(field.pictures))
    line = plainly(("train", "/dev/stdin", "--threads", 1, "train.processes=2"))
    found = []
    for name, more in (("text", ()), ("json", ("--json",))):
        done = subprocess.run(
            [*COMMAND, *line, "--out", str(tmp_path / name), *more],
            input=text,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        found.append((done.stdout.decode(), done.stderr.decode()))
    assert found[0][0].startswith(f"run         {tmp_path / 'text'}\nepochs      1\n")
    assert json.loads(found[1][0])["epochs"] == 1
    for _, err in found:
        assert len([each for each in err.splitlines() if each.startswith("epoch 1/1")]) == 1


@needs_memory
def test_folds_and_optimized_python(field: Field, tmp_path: Path) -> None:
    double = "train.dtype=float64"
    line = line_of(field, tmp_path / "run", "--folds", 2, double)
    assert cnn(*line[3:]).code == 0
    line = line_of(field, tmp_path / "both", "--folds", 2, double, "train.processes=2")
    done = subprocess.run(
        [sys.executable, "-OO", *line[1:]], capture_output=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for fold in ("fold-1", "fold-2"):
        ours, alone = (
            load_checkpoint(tmp_path / run / fold / "last.npz").groups["model"]
            for run in ("both", "run")
        )
        for name, array in alone.items():
            assert ours[name] == pytest.approx(array, rel=1e-6, abs=1e-9), name


def test_a_plan_counts_processes(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_count, "can_share_memory", lambda: True)
    for module in (setup, process_count):
        monkeypatch.setattr(module, "cpu_count", lambda: 8)
    line = ("train", field.config, "--out", tmp_path / "run", "--dry-run", "train.processes=4")
    plan = json.loads(cnn(*line, "--json").out)
    assert (plan["processes"], plan["threads"]) == (4, 2)
    text = cnn(*line).out
    assert "threads      2 in each of 4 processes\n" in text
    assert "MB in each of 4 processes, without cached images\n" in text
    outcome = cnn(*line, "--memory", "100M")
    rule = "the network needs more memory than --memory allows"
    assert outcome.code == 3
    assert outcome.err.startswith(f"cnn: {field.config}: model: {rule}. Got ")
    assert outcome.err.endswith(" of 25.0 MB in each of 4 processes.\n")


def test_more_processes_than_images_of_a_batch(field: Field, tmp_path: Path) -> None:
    outcome = cnn("train", field.config, "--out", tmp_path / "run", "train.processes=17")
    rule = "must not be above train.batch_size, which is 16"
    assert outcome == Outcome(3, "", f"cnn: {field.config}: train.processes: {rule}. Got 17.\n")


@needs_mpi
def test_not_with_mpiexec(field: Field, tmp_path: Path) -> None:
    line = ("train", field.config, "--out", tmp_path / "run")
    outcome = mpiexec(together(2, *line, "train.processes=2"))
    rule = "must be 1 under mpiexec, which starts the processes"
    assert outcome == Outcome(3, "", f"cnn: {field.config}: train.processes: {rule}. Got 2.\n")
    assert mpiexec(together(2, *line, "train.processes=auto", "--quiet")) == Outcome(0, "", "")


def test_without_memory_to_share_one_process_trains(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_count, "can_share_memory", lambda: False)
    line = ("train", field.config, "--threads", 1)
    outcome = cnn(*line, "--out", tmp_path / "two", "train.processes=2")
    note = "train.processes: one process trains; several take cnn train and Linux"
    assert outcome.code == 0
    assert outcome.err.splitlines()[0] == f"cnn: {note}"
    assert cnn(*line, "--out", tmp_path / "one", "train.processes=auto", "--quiet").code == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")


@pytest.fixture
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_count, "can_share_memory", lambda: True)
    for module in (setup, process_count):
        monkeypatch.setattr(module, "cpu_count", lambda: 8)


@pytest.mark.usefixtures("_eight_cores")
def test_how_many_are_chosen(field: Field, tmp_path: Path) -> None:
    def chosen(processes: object, **options: Any) -> Processes:
        words = [
            f"train.processes={processes}",
            "train.batch_size=6",
            f"data.root={field.pictures}",
        ]
        return choose_processes(load_config(field.config, words), "x.yaml", TrainOptions(**options))

    assert [chosen(count) for count in (1, 5, 6)] == [Processes(count) for count in (1, 5, 6)]
    with pytest.raises(ConfigError, match=r"must not be above train.batch_size, which is 6"):
        chosen(7)
    of_batch = Processes(6, "train.processes: 6, one for each image of a batch")
    assert chosen("auto") == of_batch
    text = "train.processes: 4, one for every 2 of 8 cores"
    assert chosen("auto", threads=2) == Processes(4, text)
    assert chosen("auto", threads=9).count == 1
    out = tmp_path / "run"
    assert chosen("auto", out=out, resume=True) == of_batch
    line = line_of(field, out, "train.processes=1")
    assert cnn(*line[3:]).code == 0
    text = "train.processes: 1, as many as the run had"
    assert chosen("auto", out=out, resume=True) == Processes(1, text)


@pytest.mark.usefixtures("_eight_cores")
def test_auto_heeds_memory(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves no core idle; an address space is each process's own."""
    config = load_config(field.config, ["train.processes=auto", f"data.root={field.pictures}"])
    options = TrainOptions(backend="numpy")

    def each(count: int, threads: int) -> int:
        plan = prepare(config, "x", TrainOptions(threads=threads), {}, PlannedRanks(count))
        return plan.memory.nbytes

    def chosen(limit: int | None = None) -> tuple[int, str]:
        found = choose_processes(config, "x.yaml", replace(options, memory=limit))
        return found.count, found.why.partition(", ")[2]

    for module in (setup, process_count):
        monkeypatch.setattr(module, "training_backend", lambda *_: "numpy")
    assert chosen() == (8, "one for each core")
    assert chosen(8 * each(8, 1)) == (8, "one for each core")
    assert chosen(8 * each(8, 1) - 8) == (4, "not 8: more do not fit in --memory")
    assert chosen(2 * each(2, 4)) == (2, "not 8: more do not fit in --memory")
    assert chosen(1) == (1, "not 8: more do not fit in --memory")  # the training says why
    free = 3 * each(2, 4)
    monkeypatch.setattr(memory, "available_memory", lambda *, processes=1: free // processes)
    assert chosen() == (2, "not 8: more do not fit in memory")


@pytest.mark.usefixtures("_eight_cores")
def test_auto_computes_nothing_twice(tmp_path: Path) -> None:
    """Unless one process would, too."""
    pictures = make_pictures(tmp_path / "pictures", 12, 2, side=32)
    (tmp_path / "deep.yaml").write_text(DEEP)
    words = ["train.processes=auto", f"data.root={pictures}", "data.image_size=96"]
    config = load_config(tmp_path / "deep.yaml", words)

    def needs(count: int, **train: Any) -> int:
        own = config.model_copy(update={"train": config.train.model_copy(update=train)})
        options = TrainOptions(threads=8 // count, backend="numpy")
        return count * prepare(own, "x", options, {}, PlannedRanks(count)).memory.nbytes

    once, twice = ({n: needs(n, recompute=r) for n in (8, 4, 2, 1)} for r in (False, True))
    assert once[8] > twice[8] > once[2]
    for limit in (twice[8], once[4], once[2], once[1], twice[1]):
        fits = [n for n in once if once[n] <= limit] or [n for n in twice if twice[n] <= limit]
        options = TrainOptions(backend="numpy", memory=limit)
        found = choose_processes(config, "x", options)
        assert found.count == fits[0], limit
    why = "not 8: more would compute activations twice to fit in --memory"
    found = choose_processes(config, "x", TrainOptions(backend="numpy", memory=twice[8]))
    assert found.why.endswith(why)


@pytest.mark.usefixtures("_eight_cores")
def test_the_choice_is_told(field: Field, tmp_path: Path) -> None:
    line = ("train", field.config, "--out", tmp_path / "run", "--dry-run", "train.processes=auto")
    outcome = cnn(*line)
    assert outcome.err.splitlines()[0] == "cnn: train.processes: 8, one for each core"
    assert "threads      1 in each of 8 processes\n" in outcome.out
    assert cnn(*line, "--quiet").err == ""
