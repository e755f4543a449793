"""Signals, limits and exit codes of commands that train."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cnn_cli.cli.shared import output
from cnn_cli.cli.shared.parameters import Exit
from cnn_cli.cli.shared.signals import Handler, Repeats, after_imports, ending, handlers
from cnn_cli.cli.shared.together import ranks
from cnn_cli.errors import ExitCode
from cnn_cli.parallel.launcher import started_as
from cnn_cli.portable import heed_cpu_limit
from cnn_cli.training.requests import Requests, StopNow, StopReason

ENDS = {
    "time limit": ExitCode.STOPPED,
    "terminated": ExitCode.STOPPED,
    "interrupted": ExitCode.INTERRUPTED,
}


@contextmanager
def requests_from_signals(requests: Requests, quiet: bool) -> Iterator[None]:
    """Context in which signals ask the training to stop or to save; a repeated signal ends it at
    once.

    A CPU time limit (`ulimit -t`) sends its signal early enough to save. Handlers run on the main
    thread, so `StopNow` is raised there.

    Raises:
        Exit: a stop was requested before there was a run to report.
    """
    end, repeats = ending(), Repeats()

    def stop(reason: StopReason) -> Handler:
        def ask(number: int, frame: FrameType | None) -> None:
            # The system repeats this signal every second, however long the last step takes.
            if number != getattr(signal, "SIGXCPU", None) and repeats.again(number):
                end(number, frame)
            if number == signal.SIGINT and not quiet and started_as() == 0:
                _announce(b"\ncnn: stopping after this step; a second interrupt stops at once\n")
            requests.ask_stop(reason)

        return after_imports(ask)

    def save(number: int, frame: FrameType | None) -> None:
        requests.save = True

    by_name = {
        "SIGTERM": stop("terminated"),
        "SIGHUP": stop("terminated"),
        "SIGXCPU": stop("terminated"),
        "SIGINT": stop("interrupted"),
        "SIGUSR1": save,
    }
    with handlers(by_name):
        heed_cpu_limit()
        try:
            yield
        except StopNow as stopped:
            if not quiet and ranks().rank == 0:
                output.note(f"{stopped.reason} before the first step; nothing was changed")
            raise Exit(ENDS[stopped.reason]) from None


def _announce(line: bytes) -> None:
    """Write directly to stderr: its buffer may be in use when the signal arrives."""
    with suppress(OSError):
        os.write(2, line)
