"""Shell completion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Inside

from cnn_cli.cli.docs import page_names


def completed(
    cnn: Inside, monkeypatch: pytest.MonkeyPatch, line: str, shell: str = "bash"
) -> list[str]:
    """Return the completions of a command line with the cursor at its end."""
    monkeypatch.setenv("_CNN_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    outcome = cnn()
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.split()


def test_commands(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    found = completed(cnn, monkeypatch, "cnn ")
    assert {"train", "eval", "predict", "docs", "data", "config"} <= set(found)
    assert completed(cnn, monkeypatch, "cnn tr") == ["train"]
    assert completed(cnn, monkeypatch, "cnn data ") == ["check", "doubt", "preview"]


def test_options(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(cnn, monkeypatch, "cnn train c.yaml --ba") == ["--batch-size", "--backend"]
    assert completed(cnn, monkeypatch, "cnn data check photos --st") == ["--strict"]
    assert completed(cnn, monkeypatch, "cnn eval --ckpt runs/small --tt") == ["--tta"]


def test_pages(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(cnn, monkeypatch, "cnn docs ") == page_names()
    assert completed(cnn, monkeypatch, "cnn docs conv") == ["convolution"]


@pytest.mark.parametrize(
    "line", ["cnn train ", "cnn train conf", "cnn eval --ckpt r", "cnn nope -"]
)
def test_the_shell_completes_files_itself(
    cnn: Inside, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    assert completed(cnn, monkeypatch, f"cnn {line}") == []


def test_other_shells(cnn: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--strict" in " ".join(completed(cnn, monkeypatch, "cnn data check --st", "zsh"))
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert "--strict" in " ".join(completed(cnn, monkeypatch, "cnn data check --st", "fish"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_a_shell(cnn: Inside, shell: str) -> None:
    outcome = cnn("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_CNN_COMPLETE=complete_{shell}" in outcome.out


def test_install(cnn: Inside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    outcome = cnn("completion", "bash", "--install")
    file = tmp_path / ".bash_completions/cnn.sh"
    assert (outcome.code, outcome.out) == (0, f"written  {file}\n")
    assert "_CNN_COMPLETE=complete_bash" in file.read_text()
    assert str(file) in (tmp_path / ".bashrc").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_lines(cnn: Inside, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(cnn("completion", "bash").out)
    program = tmp_path / "cnn"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnn_cli "$@"\n')
    program.chmod(0o755)
    script = (
        f'source "{tmp_path}/lines"; COMP_WORDS=(cnn train a.yaml --dry); COMP_CWORD=3;'
        f' _cnn_completion "{program}"; echo "${{COMPREPLY[@]}}"; complete -p cnn'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "--dry-run\ncomplete -o default -F _cnn_completion cnn\n", done.stderr
