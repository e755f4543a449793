"""For every test: signals as in a terminal, a separate cache folder, and for hypothesis the same
examples each time and no time limits, since a busy machine is slow.

Under nohup or behind `&`, some signals are ignored; children inherit that, and the program respects
it. Compiled kernels are stored in pytest's cache, if there is one, and are then compiled once for
all sessions.
"""

from __future__ import annotations

import os
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(_number, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    cache = getattr(config, "cache", None)
    if cache is not None:
        folder = str(cache.mkdir("compiled"))
    else:
        temporary = tempfile.TemporaryDirectory(prefix="cnn-tests-")
        config.add_cleanup(temporary.cleanup)
        folder = temporary.name
    os.environ["XDG_CACHE_HOME"] = folder
