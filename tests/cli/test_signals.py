"""A signal that ends the program ends it at any point."""

from __future__ import annotations

import importlib
import signal
import time
from pathlib import Path

import pytest
from patience import PATIENCE

from cnn_cli.cli.shared.signals import Terminated, end_at_signals

SWALLOWING = """
import signal
try:
    signal.raise_signal(signal.{name})
except BaseException:  # as the start of some extension modules does
    pass
finished = True
"""


def import_and_hang(module: str) -> None:
    with end_at_signals():
        assert importlib.import_module(module).finished
        time.sleep(PATIENCE)


def interrupt_and_hang() -> None:
    with end_at_signals():
        signal.raise_signal(signal.SIGINT)
        time.sleep(PATIENCE)


@pytest.mark.parametrize(("name", "error"), [("SIGINT", KeyboardInterrupt), ("SIGHUP", Terminated)])
def test_one_that_comes_during_an_import_is_answered_after_it(
    name: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"swallowing_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(SWALLOWING.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGALRM)
    try:
        with pytest.raises(error):
            import_and_hang(module)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_others_are_answered_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt_and_hang()
