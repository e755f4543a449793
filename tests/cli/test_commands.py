"""Commands: one file each, registered in it, and imported only when called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnn_cli import cli
from cnn_cli.cli.shared import commands
from cnn_cli.cli.shared.commands import find
from cnn_cli.cli.shared.parser import program

FILES = sorted(path.stem for path in Path(cli.__path__[0]).glob("[!_]*.py") if path.stem != "main")


def names() -> list[str]:
    """Return all commands, with those of groups."""
    found = []
    with program().make_context("cnn", [], resilient_parsing=True) as context:
        for name in program().list_commands(context):
            command: Any = program().get_command(context, name)
            below = command.list_commands(context) if hasattr(command, "list_commands") else []
            found += [name, *(f"{name} {each}" for each in below)]
    return found


def test_each_file_holds_the_command_that_it_is_named_after() -> None:
    words = {stem: stem.replace("_", " ").strip() for stem in FILES}
    assert sorted(words.values()) == sorted(names())
    for stem, name in words.items():
        command = find(name)
        assert command is not None
        assert f"cnn_cli.cli.{stem}" in sys.modules


def test_no_two_commands_have_one_place_in_the_list() -> None:
    for group in ("", "data", "config"):
        orders = [
            command.order
            for name in names()
            if name.rpartition(" ")[0] == group
            for command in [find(name)]
            if command is not None
        ]
        assert orders == sorted(set(orders))


@pytest.mark.parametrize("name", ["", "main", "shared", "import_", "data_check", "shared.values"])
def test_other_modules_are_no_commands(name: str) -> None:
    assert find(name) is None


def test_a_command_of_a_group_is_two_words(cnn: Any) -> None:
    assert find("data check") is not None
    assert cnn("data check").err == "cnn: data check: no such command.\n"


@pytest.mark.parametrize(
    ("line", "shared"),
    [
        ("train c.yaml", True),
        ("predict x.png --ckpt m.npz", True),
        ("sweep c.yaml a=1..2", True),
        ("lr c.yaml", False),
        ("summary c.yaml", False),
        ("bench c.yaml", False),
        ("bench c.yaml --ranks", True),
        ("data check photos", False),
    ],
)
def test_a_command_says_whether_ranks_share_it(line: str, shared: bool) -> None:
    command = find(line.split(maxsplit=1)[0])
    assert command is not None
    assert command.is_shared(line.split()) is shared


def test_only_the_file_of_the_command_that_is_called_is_imported() -> None:
    script = (
        "import sys; from cnn_cli.cli.main import run; run(['data', 'check', '--help']);"
        f"print([name for name in {FILES} if f'cnn_cli.cli.{{name}}' in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n['data', 'data_check']\n")


def test_the_list_of_commands_imports_none_of_them(cnn: Any) -> None:
    script = (
        "import sys; from cnn_cli.cli.main import run; run(['--help']); run([]);"
        f"print([name for name in {FILES} if f'cnn_cli.cli.{{name}}' in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == cnn("--help").out + "[]\n"


def test_what_is_read_of_a_file_is_what_it_registers() -> None:
    read = {each.name: each for each in commands._list_files(commands._files())}
    assert sorted(read) == sorted(names())
    for name, listed in read.items():
        command = find(name)
        assert command is not None
        assert (listed.about, listed.order) == (command.about, command.order)
        assert listed.about


def test_without_sources_files_are_imported(cnn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cnn("--help").out
    monkeypatch.setattr(commands, "_source", lambda stem: None)
    commands._list_files.cache_clear()
    try:
        assert cnn("--help").out == expected
    finally:
        commands._list_files.cache_clear()


def test_a_new_command_is_one_file_and_one_registration(
    cnn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greet.py").write_text(
        "from cnn_cli.cli.shared import output\n"
        "from cnn_cli.cli.shared.commands import command\n"
        "@command('greet', order=115, examples=['cnn greet'])\n"
        "def run():\n"
        "    'Say hello.'\n"
        "    output.write('hello\\n')\n"
    )
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    monkeypatch.setattr(commands, "_registered", dict(commands._registered))
    commands._files.cache_clear()
    try:
        assert cnn("greet").out == "hello\n"
        text = cnn("--help").out
        assert text.index("\n  docs ") < text.index("\n  greet       Say hello.\n")
        assert text.index("\n  greet ") < text.index("\n  completion ")
    finally:
        commands._files.cache_clear()
        sys.modules.pop("cnn_cli.cli.greet", None)
