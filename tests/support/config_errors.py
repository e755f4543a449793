"""The error of an invalid config, for tests of its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnn_cli.config import load_config
from cnn_cli.errors import ConfigError, ExitCode

NUMBER_ABOVE_0 = "must be a whole number above 0."
MAPPING = "must be a mapping of keys to values."
BELOW_1 = "must be a number, 0 or more and below 1."


def message(path: Path, text: str | bytes) -> str:
    """Return the error for a config file, without its name."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.code == ExitCode.CONFIG
    line = caught.value.line()
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line[len(f"{path}: ") :]


def names(cases: list[tuple[str, str]]) -> list[str]:
    return [text.replace("\n", " ") for text, _ in cases]
