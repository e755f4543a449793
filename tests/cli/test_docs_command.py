"""`cnn docs`: the list of pages, a page, and the output on a terminal."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND, Inside
from patience import PATIENCE

from cnn_cli.cli.docs import page_names, page_text
from cnn_cli.report.text.markdown import render_page

fcntl: Any = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios: Any = pytest.importorskip("termios")


def test_the_list(cnn: Inside) -> None:
    outcome = cnn("docs")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines] == page_names()
    assert page_names()[0] == "first-steps"
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(".") for line in lines)


def test_a_page(cnn: Inside) -> None:
    outcome = cnn("docs", "scripts")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Scripts and cron\n================\n")
    assert "\n75     stopped early" in outcome.out
    assert "\x1b" not in outcome.out


def on_a_terminal(tmp_path: Path, page: str, **environment: str) -> str:
    """Return the output on a terminal of 24 lines."""
    _ours, theirs = pty.openpty()
    file = tmp_path / "paged"
    pager = tmp_path / "pager"
    pager.write_text(f'#!/bin/sh\ncat > "{file}"\n')
    pager.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", 'stty rows 24 cols 80; exec "$@"', "sh", *COMMAND, "docs", page],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "PAGER": str(pager), **environment},
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return file.read_text() if file.exists() else ""


def test_a_terminal_gets_a_pager_and_styles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = on_a_terminal(tmp_path, "first-steps")
    assert text.startswith("\x1b[1mFirst steps\x1b[0m\n")
    assert "    cnn train configs/small.yaml\n" in text


def test_no_color(tmp_path: Path) -> None:
    text = on_a_terminal(tmp_path, "first-steps", NO_COLOR="1")
    assert text.startswith("First steps\n===========\n")
    assert "\x1b" not in text


@pytest.mark.parametrize(("columns", "page"), [(0, "training"), (2, "first-steps")])
def test_a_terminal_of_few_columns_or_none(tmp_path: Path, columns: int, page: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    pager = tmp_path / "pager"
    pager.write_text(f'#!/bin/sh\ncat > "{tmp_path}/paged"\n')
    pager.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "docs", page],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "PAGER": str(pager), "NO_COLOR": "1"},
        timeout=PATIENCE,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    text = (tmp_path / "paged").read_text()
    assert text == render_page(page_text(page), columns or 80, styled=False)
