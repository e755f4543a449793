"""Ranks that one process starts, and that talk through shared memory."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launchers import needs_memory
from patience import PATIENCE, wait_until

from cnn_cli.errors import DataError
from cnn_cli.parallel.processes import PIECE, ProcessRanks, memory_size, packed


def on_threads(count: int, act: Callable[[ProcessRanks], Any]) -> list[Any]:
    """What `act` gives on each of so many ranks, which are threads here."""
    memory = mmap.mmap(-1, memory_size(count))
    results: list[Any] = [None] * count

    def run(rank: int) -> None:
        results[rank] = act(ProcessRanks(rank, count, memory))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return results


@pytest.mark.parametrize("count", [2, 3])
def test_what_ranks_tell_each_other(count: int) -> None:
    """Also more than fits into one piece, several times, in areas that alternate."""
    long = "é" * PIECE

    def act(job: ProcessRanks) -> tuple[Any, ...]:
        own = np.full((2, PIECE // 8), job.rank, np.float32)
        return (
            job.first(lambda: None),
            job.first(lambda: (long, job.rank)),
            job.bring((long[: job.rank * PIECE // 2], job.rank)),
            job.gather(own),
            job.gather(np.array([job.rank == 1])),
            job.first_here(lambda: job.rank),
            job.end(10 + job.rank, lambda: False),
            job.end(job.rank, lambda: False),
        )

    for rank, (nothing, first, brought, large, small, here, codes, again) in enumerate(
        on_threads(count, act)
    ):
        assert nothing is None
        assert first == (long, 0)
        every = [(long[: other * PIECE // 2], other) for other in range(count)]
        assert brought == (every if rank == 0 else [])
        assert large.shape == (count, 2, PIECE // 8)
        assert (large == np.arange(count)[:, None, None]).all()
        assert small[:, 0].tolist() == [other == 1 for other in range(count)]
        assert here == 0
        assert codes == [10 + other for other in range(count)]
        assert again == list(range(count))


def test_the_first_to_end_waits_for_the_others() -> None:
    def act(job: ProcessRanks) -> list[int] | None:
        if job.rank:
            time.sleep(0.2)  # many polls of rank 0
        return job.end(job.rank, lambda: False)

    assert on_threads(2, act) == [[0, 1], [0, 1]]


@pytest.mark.parametrize("count", [2, 3])
def test_sums_have_the_same_bits_everywhere(count: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [(5,), (PIECE // 8 + 3,), (2, 7), (1,)]
    kinds = [np.float32, np.float64, np.float64, np.float32]
    numbers = [
        [rng.normal(size=shape).astype(kind) for shape, kind in zip(shapes, kinds, strict=True)]
        for _ in range(count)
    ]

    def act(job: ProcessRanks) -> list[Any]:
        own = [each.copy() for each in numbers[job.rank]]
        for each in own:
            job.start_sum(each)
            job.keep_going()
        job.finish_sums()
        job.finish_sums()  # of none
        return own

    for found in on_threads(count, act):
        for place, total in enumerate(found):
            expected = np.add.reduce([rank[place] for rank in numbers])
            np.testing.assert_array_equal(total, expected)


def test_arrays_are_packed_into_pieces() -> None:
    arrays = [np.arange(3), np.arange(0), np.arange(6), np.arange(1)]
    parts = [[part.tolist() for part in piece] for piece in packed(arrays, 4)]
    assert parts == [[[0, 1, 2], [0]], [[1, 2, 3, 4]], [[5], [0]]]


PROGRAM = """
import os, signal, sys, time
import numpy as np
from cnn_cli.parallel.processes import ProcessRanks
from cnn_cli.parallel.launcher import is_worker
from cnn_cli.parallel.ranks import JobEnded
line = [sys.executable, "-c", sys.orig_argv[2], *sys.argv[1:]]
job = ProcessRanks.join() if is_worker() else ProcessRanks.start(3, line)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
numbers = job.gather(np.array([os.getpid()]))[:, 0].tolist()
if not job.rank:
    print(*numbers, flush=True)
try:
    CALL
except JobEnded as end:
    print("ended", end.code, flush=True)
    job.abort(end.code)
"""


def start(call: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Three ranks that do something, and their numbers."""
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("CALL", call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    return running, [int(number) for number in running.stdout.readline().split()]


def is_there(number: int) -> bool:
    """Whether a process has not ended; one that nobody waits for has."""
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def memory_files() -> set[str]:
    """Files of shared memory under our names or Python's; other programs have theirs."""
    return {name for name in os.listdir("/dev/shm") if "cnn" in name or name.startswith("psm_")}


@needs_memory
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_others_end_with_the_first(number: int) -> None:
    """In the middle of anything, and nothing is left of them."""
    before = memory_files()
    running, ranks = start("time.sleep(1000) if job.rank == 2 else job.gather(np.zeros(1))")
    assert len(ranks) == 3
    running.send_signal(number)
    running.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(map(is_there, ranks)))
    assert memory_files() <= before


@needs_memory
def test_the_first_one_is_told_of_one_that_was_killed() -> None:
    running, ranks = start("job.gather(np.zeros(1)) if job.rank != 1 else time.sleep(1000)")
    os.kill(ranks[1], signal.SIGKILL)
    _, err = running.communicate(timeout=PATIENCE)
    rule = "train.processes: a worker process must not end before the others"
    assert err.splitlines()[-1].endswith(f"{rule}. Got one that ended by SIGKILL.")
    wait_until(lambda: not any(map(is_there, ranks)))


@needs_memory
def test_one_that_fails_does_not_wait_for_those_that_wait_for_it() -> None:
    """Of two that have failed, the first one ends the job."""
    call = "job.gather(np.zeros(1)) if not job.rank else (job.end(job.rank, lambda: False), "
    call += "job.abort(0), os._exit(40 + job.rank))"
    running, _ = start(call)
    out, err = running.communicate(timeout=PATIENCE)
    assert (out, err) == ("ended 41\n", "")


@needs_memory
def test_processes_that_cannot_be_started() -> None:
    rule = r"train.processes: the system must let so many processes start. Got 2: no such file"
    with pytest.raises(DataError, match=rule):
        ProcessRanks.start(2, ["/nowhere/python"])
