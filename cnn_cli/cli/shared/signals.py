"""What signals do to the commands.

A signal that was ignored when the program started, as `nohup` does, stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cnn_cli.files import remove_unfinished

Handler = Callable[[int, FrameType | None], None]
LOOK_AGAIN = 0.02  # seconds after a signal that came during an import
ENDING = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Terminated(BaseException):
    """A signal came that ends the program; raised wherever the main thread is, so that temporary
    files are removed.

    Attributes:
        code: what a shell calls the end by that signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


@contextmanager
def end_at_signals() -> Iterator[None]:
    """Within it, SIGINT raises `KeyboardInterrupt`, and others that end a program `Terminated`.

    A second one, as two come where a terminal is closed, does not wait for that to unwind.
    """
    end = ending()
    with handlers(dict.fromkeys(ENDING, end)):
        yield


def ending() -> Handler:
    """A handler that ends the program, as `end_at_signals` says."""
    began = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal began
        if began:
            remove_unfinished()
            os._exit(128 + number)
        if hasattr(signal, "setitimer") and _is_importing(frame):
            # The start of an extension module may swallow what is raised within it.
            signal.signal(signal.SIGALRM, lambda _, later: end(number, later))
            signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN)
            return
        began = True
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    return end


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def ignore_signals() -> None:
    """From now on; the exit code is decided, and the next one must not change it."""
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def handlers(by_name: dict[str, Handler]) -> Iterator[None]:
    """Within it, signals are answered by these, but for those that were ignored before."""
    before = {}
    for name, handler in by_name.items():
        number = getattr(signal, name, None)  # Windows has but a few
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
