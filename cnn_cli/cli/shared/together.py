"""One command run by several processes, which `mpiexec` started: one voice, one exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache

from cnn_cli.cli.shared.commands import find
from cnn_cli.cli.shared.streams import stderr
from cnn_cli.errors import ExitCode, UsageError
from cnn_cli.parallel.ranks import Ranks, open_ranks, started_as

PATIENCE = 1.0
"""Seconds that a rank with an error gives the others to end with the same one."""


@cache
def ranks() -> Ranks:
    """The processes that run this command.

    Raises:
        UsageError: they cannot talk to each other.
    """
    return open_ranks()


def takes_part(arguments: Sequence[str]) -> bool:
    """Whether this process has a part in a command, which is silent on all ranks but 0."""
    if ranks().rank == 0:
        return True
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    # Options before a command, such as --debug, take no values.
    command = find(next((word for word in arguments if not word.startswith("-")), ""))
    return command is not None and command.is_shared(arguments)


def conclude(code: int, tell: Callable[[], None] | None) -> int:
    """End the job as one: an error is told by one rank, and ends the others.

    Args:
        code: of this rank's command, which has ended.
        tell: prints its error, if it has one.

    Returns:
        The exit code: that of the first rank that failed, if any did.
    """
    try:
        job = ranks()
    except UsageError:  # there are others, and no way to reach them
        if tell is not None and started_as() == 0:
            tell()
        return code
    codes = job.end(code, None if code == ExitCode.OK else PATIENCE)
    first = job.rank if codes is None else next((i for i, each in enumerate(codes) if each), 0)
    if first == job.rank and tell is not None:
        if job.rank:
            sys.stderr = stderr()
        tell()
    if codes is None:
        job.abort(code)
        return code
    job.end(code, None)  # one that exits may end the others: the first has spoken by now
    job.close()
    return codes[first]  # of all: of several mpiexec reports whose it likes


def alone() -> bool:
    """Whether there is no other process, or none that can be reached."""
    try:
        return ranks().size == 1
    except UsageError:
        return True
