"""The commands and keys on the page `coming-from` are valid."""

from __future__ import annotations

import re

import pytest
from make_pages import ROOT
from test_command_lines import calls, read

from cnn_cli.cli.docs import page_text
from cnn_cli.cli.shared.parser import program
from cnn_cli.config import load_config

CONFIG = ROOT / "configs/small.yaml"
ROWS = re.findall(r"^\|.*\| (.*) \|$", page_text("coming-from"), re.MULTILINE)
TYPED = [code for row in ROWS for code in re.findall(r"`([^`]+)`", row) if "…" not in code]
LINES = [code for code in TYPED if code.startswith("cnn ")]
SETTINGS = [code for code in TYPED if re.match(r"--|[a-z]+\.[\w.]+=", code)]
WRITTEN = [code for code in TYPED if re.match(r"\w+: ", code)]


def commands() -> list[str]:
    context = program().make_context("cnn", ["train"], resilient_parsing=True)
    return list(program().list_commands(context))


def options() -> set[str]:
    """Return all options of `cnn train`, to which most rows refer."""
    context = program().make_context("cnn", ["train"], resilient_parsing=True)
    _, train, _ = program().resolve_command(context, ["train"])
    return {name for parameter in train.params for name in parameter.opts}


def test_the_page_has_all_kinds() -> None:
    assert len(LINES) > 10
    assert len(SETTINGS) > 15
    assert len(WRITTEN) > 2


@pytest.mark.parametrize("line", LINES)
def test_commands(line: str) -> None:
    for words in calls(line):
        if len(words) == 1:  # the command itself
            assert words[0] in commands()
        else:
            assert read(words) == f"cnn {words[0]}"


@pytest.mark.parametrize("setting", SETTINGS)
def test_options_and_keys(setting: str) -> None:
    words = re.findall(r"(?:\{.*?\}|\S)+", setting)
    load_config(CONFIG, [word for word in words if "=" in word])
    assert {word for word in words if word.startswith("-")} <= options()


@pytest.mark.parametrize("written", WRITTEN)
def test_what_is_written_in_a_config(written: str) -> None:
    key, _, value = written.partition(": ")
    layers = {"linear": "[flatten, {0}]", "batchnorm": "[{0}, flatten, linear: classes]"}
    if key in layers:
        written = f"layers: {layers[key].format(written)}"
    elif key == "layers":
        written = f"layers: {value.removesuffix(']')}, flatten, linear: classes]"
    load_config(CONFIG, [f"model={value if key == 'model' else f'{{{written}}}'}"])
