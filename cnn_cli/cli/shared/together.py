"""One command run by several processes: one set of messages, one exit code.

`mpiexec` started them, or the command itself for `train.processes`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from types import FrameType
from typing import TypeVar

from cnn_cli import __version__
from cnn_cli.cli.shared.commands import find
from cnn_cli.cli.shared.signals import (
    ENDING,
    HeldSignals,
    Repeats,
    Terminated,
    at_their_defaults,
    end_at_signals,
    handlers,
)
from cnn_cli.cli.shared.streams import stderr
from cnn_cli.errors import ExitCode, UsageError
from cnn_cli.files import remove_unfinished
from cnn_cli.parallel.alike import check_alike
from cnn_cli.parallel.launcher import is_worker, open_ranks, started_as
from cnn_cli.parallel.ranks import Ranks
from cnn_cli.system import host_name

PATIENCE = 5.0
"""Seconds that a rank with an error gives the others to end with the same one."""
GRACE = 3.0
"""Seconds that a finished rank which gets a signal gives the others to handle theirs."""

TOLD = 1
"""What a rank that has printed its error tells the others."""

T = TypeVar("T")

Tell = Callable[[str], None]
"""A function that prints an error; its argument says on which rank it occurred."""

WORKER = (
    "import sys; n = int(sys.argv[1]); sys.path[:] = sys.argv[2 : 2 + n]; "
    "sys.argv[:] = ['cnn', *sys.argv[2 + n :]]; from cnn_cli.__main__ import main; main()"
)
"""The Python code of a worker process: this program, with this process's module path."""

_arguments: list[str] = []
"""The command line, without the program's name."""
_workers: list[Ranks] = []
"""The ranks, if the command has started worker processes or is run by one; else empty."""


def ranks() -> Ranks:
    """Return the processes that run this command.

    Raises:
        UsageError: they cannot communicate.
    """
    return _workers[0] if _workers else _started_ranks()


@cache
def _started_ranks() -> Ranks:
    # Starting MPI waits for all processes inside the library: Python cannot handle signals there,
    # and a signal handled in between would leave the others waiting.
    with at_their_defaults():
        return open_ranks()


def takes_part(arguments: Sequence[str]) -> bool:
    """Whether this process takes part in a command; ranks other than 0 print nothing.

    A command for rank 0 alone needs no MPI, and the other ranks end at once.

    Raises:
        ConfigError: the ranks were given different commands, or have different versions.
    """
    # Options before the command, such as --debug, take no values.
    name = next((word for word in arguments if not word.startswith("-")), "")
    _arguments[:] = arguments
    if is_worker():
        _join()
        return True
    command = find(name)
    if command is None or not command.is_shared(arguments):
        return started_as() == 0
    job = ranks()
    if job.rank:
        _discard_output()
    check_alike(job, "mpiexec", {"command": name, "version of cnn": __version__})
    return True


def _discard_output() -> None:
    """Discard everything that is printed from now on."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end


def _join() -> None:
    """Join the ranks that run the command, in a worker process."""
    from cnn_cli.parallel.processes import ProcessRanks, take_signals

    _workers.append(ProcessRanks.join())
    _discard_output()
    take_signals()


def load_for_all(load: Callable[[], T], count: Callable[[T], int]) -> T:
    """Load a value on rank 0, start the processes that it asks for, and return it on all ranks.

    Args:
        load: called on rank 0 only.
        count: returns the number of processes for the value.

    Raises:
        DataError: the system cannot start the processes.
    """
    if is_worker():
        return ranks().first(load)
    loaded = load()
    wanted = count(loaded)
    if wanted == 1:
        return loaded
    from cnn_cli.parallel.processes import ProcessRanks

    optimized = ["-O"] * sys.flags.optimize
    line = [sys.executable, *optimized, "-c", WORKER, str(len(sys.path)), *sys.path, *_arguments]
    _workers.append(ProcessRanks.start(wanted, line))
    return ranks().first(lambda: loaded)


def conclude(code: int, tell: Tell | None, held: HeldSignals) -> int:
    """End the job together: one rank prints an error, and the others end.

    A signal during the wait for other ranks ends the job, too, at once if it is repeated.

    Args:
        code: exit code of this rank's command, which has ended.
        tell: prints its error, if there is one.
        held: tells of a signal that arrived when the command had just ended.

    Returns:
        The exit code: that of the first rank that failed, if any did.
    """
    if alone():
        return _conclude_alone(code, tell, held)
    job, repeats = ranks(), Repeats()
    until = None if code == ExitCode.OK else time.monotonic() + PATIENCE
    ended_by = 0

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal until, ended_by
        if repeats.again(number):
            remove_unfinished()
            os._exit(128 + number)  # this ends the others
        ended_by = ended_by or number
        until = time.monotonic() + GRACE if until is None else until

    def enough() -> bool:
        return until is not None and time.monotonic() > until

    def say() -> None:
        if tell is not None:
            if job.rank:
                sys.stderr = stderr()
            tell(_place(job))

    with handlers(dict.fromkeys(ENDING, answer)):
        if held.number:
            answer(held.number, None)
        codes = job.end(code, enough)
        if codes is None:
            code = code or 128 + ended_by
            job.end(TOLD, lambda: True)  # later ranks need not print it
            say()
            job.abort(code)
            return code
        until = None  # from now on, wait for an unread error
        told = job.end(0, enough)
        code = next(filter(None, codes), 0)  # for all ranks, since mpiexec reports an arbitrary one
        if told is not None and TOLD not in told and job.rank == codes.index(code):
            say()
        # The exit of one rank may end the others: the first has printed by now.
        if job.end(0, enough) is None:
            job.abort(code)
        job.close(code)
    return code


def _conclude_alone(code: int, tell: Tell | None, held: HeldSignals) -> int:
    """Print the error of a command that no other process can be told of; return the exit code."""
    if tell is None or started_as() != 0:  # if the ranks cannot communicate, the first one prints
        return code
    try:
        with end_at_signals():
            held.answer()
            tell("")
    except Terminated as end:  # while nobody reads the error
        return end.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _place(job: Ranks) -> str:
    """Name this rank and its machine in an error that rank 0 does not have."""
    return f"rank {job.rank} on {host_name()}: " if job.rank and not _workers else ""


def leave() -> None:
    """Forget the ranks of a command that has ended."""
    _workers.clear()


def alone() -> bool:
    """Whether there is no other process in this command, or none that can be reached."""
    if _workers:
        return False
    try:
        return _started_ranks.cache_info().currsize == 0 or ranks().size == 1
    except UsageError:
        return True
