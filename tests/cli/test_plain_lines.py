"""Plain command lines are parsed without Typer, to the same values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_cli.cli.shared import commands, parser
from cnn_cli.cli.shared.commands import Registered, find, find_all, plain_call
from cnn_cli.cli.shared.parameters import declared, plain_values
from cnn_cli.errors import UsageError

VALUES = ("3", "0", "0.5", "x.png", "a b", "-", "a=b", "90s", "top1=0.9", "numpy", "csv", "1,2")
RARE = ("", "-1", "--", "--help", "-x", "--nothing", "-b3", "-0x")


def called() -> list[Registered]:
    """Return the commands that run something."""
    found = [find(each.name) for each in find_all()]
    return [each for each in found if each is not None and each.callback is not None]


def lines(command: Registered) -> st.SearchStrategy[list[str]]:
    """Generate command lines: options with and without values, arguments, and rarer forms."""
    assert command.callback is not None
    options = [name for each in declared(command.callback) for name in given_names(each.described)]
    words = st.one_of(
        st.sampled_from(VALUES).map(lambda word: [word]),
        st.sampled_from(options).map(lambda word: [word]),
        st.tuples(st.sampled_from(options), st.sampled_from(VALUES)).map(list),
        st.tuples(st.sampled_from(options), st.sampled_from(VALUES)).map(lambda w: ["=".join(w)]),
        st.sampled_from(RARE).map(lambda word: [word]),
    )
    return st.lists(words, max_size=5).map(lambda parts: [word for part in parts for word in part])


def given_names(described: Any) -> tuple[str, ...]:
    return () if described is None else described.names


def by_typer(command: Registered, words: list[str]) -> dict[str, Any] | None:
    """Return the arguments with which Typer calls the command; None if it does not call it."""
    seen: list[dict[str, Any]] = []
    whole = parser._for_typer

    def recording(callback: Callable[..., None]) -> Callable[..., None]:
        read = whole(callback)

        def record(**values: Any) -> None:
            seen.append(values)

        update_wrapper(record, read)
        return record

    parser._for_typer = recording
    try:
        made = parser._made.__wrapped__(command)
    finally:
        parser._for_typer = whole
    try:
        with made.make_context(command.name, list(words)) as context:
            made.invoke(context)
    except (UsageError, typer.Exit):
        return None
    return seen[0]


@pytest.mark.parametrize("command", called(), ids=lambda each: each.name)
@settings(max_examples=40)
@given(data=st.data())
def test_a_plain_line_has_the_values_that_typer_reads(command: Registered, data: Any) -> None:
    words = data.draw(lines(command))
    assert command.callback is not None
    values = plain_values(command.callback, words)
    if values is not None:
        assert values == by_typer(command, words)


@pytest.mark.parametrize(
    "line",
    [
        "predict x.png --ckpt m.npz",
        "predict a b - --ckpt=m.npz --format csv --topk=3 -b 2 --probs --min-prob .5",
        "predict --from-file - -0 --ckpt m.npz",
        "train c.yaml train.epochs=3 --resume --fail-under top1=0.9 --fail-under loss=2",
        "data check photos --strict",
        "eval --ckpt m.npz --json",
        "completion bash",
    ],
)
def test_what_is_usually_typed_is_plain(line: str) -> None:
    assert plain_call(line.split()) is not None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "--version",
        "--debug predict x --ckpt m.npz",
        "predict --help",
        "predict x",
        "predict x --ckpt m.npz --topk 0",
        "predict x --ckpt",
        "predict x --ckpt m.npz --json=yes",
        "predict -- x --ckpt m.npz",
        "similar a b --index f.npz",
        "data",
        "data chekc photos",
        "data check photos --near",
        "xyzzy",
    ],
)
def test_typer_reads_the_rest(line: str) -> None:
    assert plain_call(line.split()) is None


def test_a_plain_line_imports_no_typer(tmp_path: Path) -> None:
    script = (
        "import sys; from cnn_cli.cli.main import run; run(['docs']);"
        "print({'typer', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\nset()\n")


def test_no_command_but_for_the_parser_knows_typer() -> None:
    """Both parsers use `Option` and `Argument`."""
    folder = Path(commands.__file__).parent.parent
    for file in sorted(folder.rglob("*.py")):
        if file.name != "parser.py":
            assert "import typer" not in file.read_text(encoding="utf-8"), file
