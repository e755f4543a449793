"""Signal handling of commands.

A signal that was ignored when the program started, as with `nohup`, stays ignored.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from cnn_cli.files import remove_unfinished

Handler = Callable[[int, FrameType | None], None]
LOOK_AGAIN = 0.02  # seconds after a signal that arrived during an import
TOGETHER = 1.0
"""Seconds within which signals count as one: closing a terminal and `timeout` send two."""
ENDING = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Terminated(BaseException):
    """A signal ends the program; raised on the main thread, so that temporary files are removed.

    Attributes:
        code: the shell's exit code for that signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Repeats:
    """Distinguishes a repeated signal, sent because the first was not handled soon enough, from two
    sent at once. A second interrupt from the keyboard always counts as repeated.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._interrupts = 0

    def again(self, number: int) -> bool:
        """Whether the signal that just arrived repeats an earlier one."""
        now = time.monotonic()
        self._interrupts += number == signal.SIGINT
        if self._first is None:
            self._first = now
            return False
        return self._interrupts > 1 or now - self._first >= TOGETHER


@contextmanager
def end_at_signals() -> Iterator[None]:
    """Context in which SIGINT raises `KeyboardInterrupt`, and other ending signals raise
    `Terminated`.

    A repeated signal ends the process without waiting for the cleanup.
    """
    end = ending()
    with handlers(dict.fromkeys(ENDING, end)):
        yield


def at_their_defaults() -> AbstractContextManager[None]:
    """Context in which ending signals end the process immediately."""
    return handlers(dict.fromkeys(ENDING, signal.SIG_DFL))


def ending() -> Handler:
    """Return a handler that ends the program, as in `end_at_signals`."""
    came = 0

    unwind_soon = after_imports(_unwind)

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        if came > 1:
            remove_unfinished()
            os._exit(128 + number)
        unwind_soon(number, frame)

    return end


def _unwind(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def after_imports(handler: Handler) -> Handler:
    """Return a handler that is called when no module is being imported.

    The initialization of an extension module may swallow exceptions.
    """
    waiting = False

    def answer(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        if waiting or not hasattr(signal, "setitimer") or not _is_importing(frame):
            handler(number, frame)
            return
        waiting = True

        def look_again(_: int, later: FrameType | None) -> None:
            nonlocal waiting
            waiting = False
            answer(number, later)

        signal.signal(signal.SIGALRM, look_again)
        signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN)

    return answer


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


class HeldSignals:
    """Signals that arrived outside any handler.

    Attributes:
        number: number of the first one; 0 if none arrived.
    """

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number

    def answer(self) -> None:
        """Raise what the signal's handler would have raised: see `end_at_signals`."""
        if self.number:
            _unwind(self.number, None)


def hold_signals() -> HeldSignals:
    """From now on, remember signals outside `handlers`: none ends the program before a command
    begins, or after its end, when the exit code is decided.
    """
    held = HeldSignals()
    _answer(dict.fromkeys(ENDING, held))
    return held


def ignore_signals() -> None:
    """Ignore signals from now on; the exit code is decided, and no signal may change it."""
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def handlers(by_name: Mapping[str, Handler | signal.Handlers]) -> Iterator[None]:
    """Context with these signal handlers, except for signals that were ignored before."""
    before = _answer(by_name)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _answer(by_name: Mapping[str, Handler | signal.Handlers]) -> dict[int, Any]:
    """Set handlers, except for ignored signals; return the earlier ones by number."""
    before = {}
    for name, handler in by_name.items():
        number = getattr(signal, name, None)  # Windows has only a few
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before
