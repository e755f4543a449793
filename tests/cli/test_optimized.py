"""`python -O` and `-OO`: nothing depends on `assert` or on docstrings in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import process

ROOT = Path(__file__).parent.parent.parent
PARTS = {
    "1": ("tests/cli/test_usage.py",),
    "2": ("tests/cli/test_usage.py", "tests/cli/test_commands.py", "tests/config/test_schema.py"),
}


@pytest.mark.parametrize("line", ["config schema", "train --help", "data --help", "docs"])
def test_every_text_is_there(line: str) -> None:
    plain = process(*line.split())
    bare = process(*line.split(), env=os.environ | {"PYTHONOPTIMIZE": "2"})
    assert bare == plain


def test_training_and_prediction(trained: Path, project: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONOPTIMIZE": "2"}
    line = ("train", project / "tiny.yaml", "--threads", 1, "--out", tmp_path / "run", "--quiet")
    outcome = process(*line, env=environment)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    pictures = project / "photos/test"
    plain = process("predict", pictures, "--ckpt", trained, "--json")
    bare = process("predict", pictures, "--ckpt", tmp_path / "run", "--json", env=environment)
    assert bare == plain
    assert plain.code == 0


@pytest.mark.parametrize("level", PARTS)
def test_tests_of_the_suite(level: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            # pytest's warning about assertions outside test files.
            *("-W", "ignore::pytest.PytestConfigWarning"),
            *PARTS[level],
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONOPTIMIZE": level},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_assertions_of_tests_are_run_all_the_same(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    (tmp_path / "test_false.py").write_text("def test_false():\n    assert 1 == 2\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-W", "ignore::pytest.PytestConfigWarning", "test_false.py"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONOPTIMIZE": "2"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert "assert 1 == 2" in done.stdout
