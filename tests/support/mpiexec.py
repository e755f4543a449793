"""The program as several processes, started by `mpiexec` from the wheel `mpich`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cli_program import COMMAND, Outcome, plainly
from patience import PATIENCE

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable))

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None,
    reason="needs mpi4py and, beside Python, the mpiexec of mpich: pip install mpi4py mpich",
)


def together(ranks: int, *arguments: object) -> list[str]:
    """Return the command line for that many ranks."""
    assert MPIEXEC is not None
    return [MPIEXEC, "-n", str(ranks), *COMMAND, *plainly(arguments)]


def mpiexec(line: list[str], cwd: Path | None = None, **options: Any) -> Outcome:
    """Run such a line; each rank has one thread."""
    done: Any = subprocess.run(
        line, cwd=cwd, timeout=PATIENCE, check=False, capture_output=True, text=True, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
