"""One command run by several processes, which `mpiexec` started: one voice, one exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from types import FrameType

from cnn_cli import __version__
from cnn_cli.cli.shared.commands import find
from cnn_cli.cli.shared.signals import (
    ENDING,
    Held,
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
from cnn_cli.parallel.ranks import Ranks, open_ranks, started_as

PATIENCE = 5.0
"""Seconds that a rank with an error gives the others to end with the same one."""
GRACE = 3.0
"""Seconds that a rank which has ended, and gets a signal, gives the others to answer theirs."""

TOLD = 1


@cache
def ranks() -> Ranks:
    """The processes that run this command.

    Raises:
        UsageError: they cannot talk to each other.
    """
    # Starting MPI waits for all processes, within the library: Python cannot answer a signal
    # there, and one that it answers in the middle would leave the others there.
    with at_their_defaults():
        return open_ranks()


def takes_part(arguments: Sequence[str]) -> bool:
    """Whether this process has a part in a command, which is silent on all ranks but 0.

    A command that is rank 0's alone needs no MPI, and the others end at once.

    Raises:
        ConfigError: the ranks were given different commands, or are of different versions.
    """
    # Options before a command, such as --debug, take no values.
    name = next((word for word in arguments if not word.startswith("-")), "")
    command = find(name)
    if command is None or not command.is_shared(arguments):
        return started_as() == 0
    job = ranks()
    if job.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    check_alike(job, "mpiexec", {"command": name, "version of cnn": __version__})
    return True


def conclude(code: int, tell: Callable[[], None] | None, held: Held) -> int:
    """End the job as one: an error is told by one rank, and ends the others.

    A signal while this rank waits for the others ends the job, too: at once where it is repeated.

    Args:
        code: of this rank's command, which has ended.
        tell: prints its error, if it has one.
        held: tells of a signal that came when the command had just ended.

    Returns:
        The exit code: that of the first rank that failed, if any did.
    """
    if alone():
        # Of several that cannot reach each other the first one speaks.
        if tell is None or started_as() != 0:
            return code
        try:
            with end_at_signals():
                held.answer()
                tell()
        except Terminated as end:  # while nobody reads the error
            return end.code
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        return code
    job, repeats = ranks(), Repeats()
    until = None if code == ExitCode.OK else time.monotonic() + PATIENCE
    ended_by = 0

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal until, ended_by
        if repeats.again(number):
            remove_unfinished()
            os._exit(128 + number)  # which ends the others
        ended_by = ended_by or number
        until = time.monotonic() + GRACE if until is None else until

    def enough() -> bool:
        return until is not None and time.monotonic() > until

    def say() -> None:
        if tell is not None:
            if job.rank:
                sys.stderr = stderr()
            tell()

    with handlers(dict.fromkeys(ENDING, answer)):
        if held.number:
            answer(held.number, None)
        codes = job.end(code, enough)
        if codes is None:
            code = code or 128 + ended_by
            job.end(TOLD, lambda: True)  # who comes now need not
            say()
            job.abort(code)
            return code
        until = None  # from now on for an error that nobody reads
        told = job.end(0, enough)
        code = next(filter(None, codes), 0)  # of all: of several mpiexec reports whose it likes
        if told is not None and TOLD not in told and job.rank == codes.index(code):
            say()
        # One that exits may end the others: the first has spoken by now.
        if job.end(0, enough) is None:
            job.abort(code)
        job.close(code)
    return code


def alone() -> bool:
    """Whether there is no other process in this command, or none that can be reached."""
    try:
        return ranks.cache_info().currsize == 0 or ranks().size == 1
    except UsageError:
        return True
